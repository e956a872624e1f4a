"""Several members of one Kafka consumer group."""

import subprocess
import sys
import time
import uuid

import pytest

from sluice.errors import SluiceError, StorageUnavailable
from sluice.events import NewRecord, Partition
from sluice.kafka.log import KafkaLog
from sluice.kafka.membership import Patience

WAIT_S = 40.0
PARTS = 4
PATIENCE = Patience(session_s=6.0, poll_s=6.0)


class Member:
    """Reads like the profiles process: loads positions when assigned, commits when told to give up."""

    def __init__(self, log: KafkaLog, group: str, topics: list[str]) -> None:
        self._log, self._group = log, group
        self.owned: set[Partition] = set()
        self.positions: dict[Partition, int] = {}
        self.told: list[str] = []
        self.found: list = []
        self.refused = 0
        self.membership = log.join(group, topics, self)

    def assigned(self, partitions) -> None:
        self.told.append("assigned")
        self.owned = set(partitions)
        committed = self._log.committed(self._group)
        self.positions = {each: committed.get(each, 0) for each in partitions}

    def revoked(self, partitions) -> None:
        self.told.append("revoked")
        assert self.owned == set(partitions)
        self.commit()
        self.owned, self.positions = set(), {}

    def lost(self, partitions) -> None:
        self.told.append("lost")
        self.owned, self.positions = set(), {}

    def commit(self) -> None:
        try:
            self.membership.commit(self.positions)
        except StorageUnavailable:
            self.refused += 1

    def step(self) -> None:
        for each in self.membership.read(self.positions, 50, 0.05):
            assert each.partition in self.owned
            self.found.append(each)
            self.positions[each.partition] = each.offset + 1


@pytest.fixture
def log(kafka):
    log = KafkaLog(kafka, patience=PATIENCE)
    yield log
    log.close()


@pytest.fixture
def topics(log):
    names = [f"{kind}-{uuid.uuid4().hex}" for kind in ("interactions", "answers")]
    log.create_topics(dict.fromkeys(names, PARTS))
    return names


@pytest.fixture
def join(log, topics):
    group, members = f"group-{uuid.uuid4().hex}", []

    def join() -> Member:
        members.append(Member(log, group, topics))
        return members[-1]

    join.group = group
    yield join
    for member in members:
        member.membership.close()


def fill(log, topics, count: int = 200) -> None:
    for topic in topics:
        log.append(topic, [NewRecord(b"%d" % n, b"%d" % n, partition=n) for n in range(count)])


def until(condition, *members: Member) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        for member in members:
            member.step()


def all_of(topics) -> set[Partition]:
    return {Partition(topic, number) for topic in topics for number in range(PARTS)}


def test_a_second_member_takes_half_and_equal_numbers_stay_together(log, topics, join):
    one = join()
    until(lambda: len(one.owned) == 2 * PARTS, one)
    two = join()
    until(lambda: len(one.owned) == PARTS == len(two.owned), one, two)
    assert one.owned | two.owned == all_of(topics)
    for member in (one, two):
        numbers = {topic: {each.number for each in member.owned if each.topic == topic} for topic in topics}
        assert numbers[topics[0]] == numbers[topics[1]]
    assert one.told == ["assigned", "revoked", "assigned"]


def test_what_is_committed_when_partitions_are_revoked_is_where_the_next_owner_goes_on(log, topics, join):
    fill(log, topics)
    one = join()
    until(lambda: len(one.found) == 400, one)
    fill(log, topics)
    until(lambda: len(one.found) > 410, one)
    two = join()
    until(lambda: len(one.found) + len(two.found) >= 800, one, two)
    until(lambda: len(one.owned) == PARTS == len(two.owned), one, two)
    places = [(each.partition, each.offset) for each in one.found + two.found]
    assert sorted(places) == sorted(set(places))
    assert len(places) == 800


MEMBER = """
import sys, time
from sluice.kafka.log import KafkaLog
from sluice.kafka.membership import Patience
class Told:
    def assigned(self, partitions):
        print("assigned", len(partitions), flush=True)
    def revoked(self, partitions): pass
    def lost(self, partitions): pass
servers, group, *topics = sys.argv[1:]
member = KafkaLog(servers, patience=Patience(6.0, 6.0)).join(group, topics, Told())
while True:
    member.read({}, 10, 0.1)
"""


def test_the_partitions_of_a_killed_member_come_to_another(kafka, log, topics, join):
    arguments = [sys.executable, "-c", MEMBER, kafka, join.group, *topics]
    killed = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    try:
        assert f"assigned {2 * PARTS}\n" in killed.stdout
        one = join()
        until(lambda: len(one.owned) == PARTS, one)
    finally:
        killed.kill()
        killed.communicate()
    until(lambda: one.owned == all_of(topics), one)
    fill(log, topics)
    until(lambda: len(one.found) == 400, one)


def test_commits_during_a_rebalance_are_refused_at_worst_and_all_go_on(log, topics, join):
    fill(log, topics)
    one = join()
    until(lambda: len(one.found) == 400, one)
    two = join()

    def settled() -> bool:
        one.commit()
        two.commit()
        return len(one.owned) == PARTS == len(two.owned)

    until(settled, one, two)
    before = one.refused, two.refused
    one.commit()
    two.commit()
    assert (one.refused, two.refused) == before
    committed = log.committed(join.group)
    assert committed == dict.fromkeys(all_of(topics), 50)
    fill(log, topics)
    until(lambda: len({(e.partition, e.offset) for e in one.found + two.found}) == 800, one, two)


def test_a_member_cannot_commit_what_was_taken_from_it(topics, join):
    one = join()
    until(lambda: len(one.owned) == 2 * PARTS, one)
    two = join()
    until(lambda: len(one.owned) == PARTS == len(two.owned), one, two)
    with pytest.raises(StorageUnavailable, match="another member's"):
        one.membership.commit(dict.fromkeys(two.owned, 1))


def test_a_member_that_stays_is_not_given_up_however_long_its_batch_takes(log, topics, join):
    fill(log, topics)
    one = join()
    until(lambda: len(one.found) > 0, one)
    two = join()
    until(lambda: len(one.owned) == PARTS == len(two.owned), one, two)
    seen, owned = len(one.found), set(one.owned)
    begun = time.monotonic()
    while time.monotonic() - begun < PATIENCE.poll_s * 2:
        one.membership.stay()
        two.step()
        time.sleep(0.01)
    assert "lost" not in one.told
    assert one.owned == owned
    one.commit()
    assert one.refused == 0
    assert len(one.found) == seen
    until(lambda: len({(e.partition, e.offset) for e in one.found + two.found}) == 400, one, two)


def test_a_member_that_neither_reads_nor_stays_loses_its_partitions_and_gets_them_anew(log, topics, join):
    one = join()
    until(lambda: len(one.owned) == 2 * PARTS, one)
    two = join()
    until(lambda: len(one.owned) == PARTS == len(two.owned), one, two)
    until(lambda: two.owned == all_of(topics), two)
    with pytest.raises(StorageUnavailable):
        one.membership.commit(one.positions)
    until(lambda: len(one.owned) == PARTS == len(two.owned), one, two)
    assert "lost" in one.told
    fill(log, topics)
    until(lambda: len({(e.partition, e.offset) for e in one.found + two.found}) == 400, one, two)


def test_topics_of_unequal_partition_counts_cannot_be_joined(log, topics, join):
    other = f"other-{uuid.uuid4().hex}"
    log.create_topics({other: PARTS + 1})
    with pytest.raises(SluiceError, match="equally many"):
        log.join(join.group, [*topics, other], object())
    with pytest.raises(SluiceError, match="does not exist"):
        log.join(join.group, [*topics, "nowhere"], object())
