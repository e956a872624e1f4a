"""The membership port: reading as a member of a consumer group."""

import time

import pytest

from sluice.events import NewRecord, Partition

WAIT_S = 20.0


class Listening:
    """A listener that writes down what it is told and may do something at it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, frozenset[Partition]]] = []
        self.at_revoked = lambda: None

    def assigned(self, partitions) -> None:
        self.told.append(("assigned", frozenset(partitions)))

    def revoked(self, partitions) -> None:
        self.told.append(("revoked", frozenset(partitions)))
        self.at_revoked()

    def lost(self, partitions) -> None:
        self.told.append(("lost", frozenset(partitions)))


@pytest.fixture
def log(event_log):
    yield event_log
    event_log.close()


@pytest.fixture
def topics(event_log_port, log):
    names = [event_log_port.own("interactions"), event_log_port.own("items")]
    log.create_topics(dict.fromkeys(names, 2))
    return names


@pytest.fixture
def partitions(topics):
    return frozenset(Partition(topic, number) for topic in topics for number in range(2))


@pytest.fixture
def group(event_log_port):
    return event_log_port.own("profiles")


@pytest.fixture
def join(log, topics, group):
    joined = []

    def join(listener):
        joined.append(log.join(group, topics, listener))
        return joined[-1]

    yield join
    for member in joined:
        member.close()


def filled(log, topics, count: int = 40) -> None:
    for topic in topics:
        log.append(topic, [NewRecord(b"%d" % n, b"%d" % n, partition=n) for n in range(count)])


def until_assigned(member, listener) -> None:
    deadline = time.monotonic() + WAIT_S
    while not listener.told:
        assert time.monotonic() < deadline
        assert member.read({}, 10, 0.1) == []


def read_all(member, positions, limit: int = 7) -> list:
    """Read on from ``positions`` until nothing is there; they are moved on."""
    found = []
    while records := member.read(positions, limit, 0.0):
        for each in records:
            found.append(each)
            positions[each.partition] = each.offset + 1
    return found


def test_assignment_is_told_before_the_first_record(log, topics, partitions, join):
    filled(log, topics)
    listener = Listening()
    member = join(listener)
    until_assigned(member, listener)
    assert listener.told == [("assigned", partitions)]
    found = read_all(member, dict.fromkeys(partitions, 0))
    assert len(found) == 80
    assert listener.told == [("assigned", partitions)]


@pytest.mark.parametrize("limit", [1, 7, 1000, 5000])
def test_the_positions_given_decide_what_is_read(log, topics, partitions, join, limit):
    filled(log, topics)
    listener = Listening()
    member = join(listener)
    until_assigned(member, listener)
    for start in (3, 15, 0):
        found = read_all(member, dict.fromkeys(partitions, start), limit)
        assert len(found) == len(partitions) * (20 - start)
        for partition in partitions:
            offsets = [each.offset for each in found if each.partition == partition]
            assert offsets == list(range(start, 20))


def test_a_member_may_read_some_of_its_partitions_and_the_others_later(log, topics, partitions, join):
    filled(log, topics)
    listener = Listening()
    member = join(listener)
    until_assigned(member, listener)
    for partition in partitions:
        assert {each.partition for each in read_all(member, {partition: 0})} == {partition}


def test_a_member_that_stays_reads_on_where_it_was(log, topics, partitions, join):
    filled(log, topics)
    listener = Listening()
    member = join(listener)
    until_assigned(member, listener)
    positions = dict.fromkeys(partitions, 0)
    found = member.read(positions, 5, WAIT_S)
    for each in found:
        positions[each.partition] = each.offset + 1
    for _ in range(20):
        member.stay()
    filled(log, topics, 4)
    member.stay()
    deadline = time.monotonic() + WAIT_S
    while len(found) < 88 and time.monotonic() < deadline:
        found += read_all(member, positions)
    assert len(found) == 88
    for partition in partitions:
        assert [each.offset for each in found if each.partition == partition] == list(range(22))
    assert listener.told == [("assigned", partitions)]


def test_a_group_knows_what_its_member_committed_in_topics_it_did_not_join_too(
    event_log_port, log, topics, partitions, group, join
):
    letters = event_log_port.own("letters")
    log.create_topics({letters: 3})
    listener = Listening()
    member = join(listener)
    until_assigned(member, listener)
    first, *_ = sorted(partitions)
    member.commit({})
    member.commit({first: 3})
    member.commit({first: 4, Partition(letters, 2): 9})
    assert log.committed(group) == {first: 4, Partition(letters, 2): 9}


def test_a_member_that_leaves_may_commit_a_last_time(log, topics, partitions, group, join):
    listener = Listening()
    member = join(listener)
    until_assigned(member, listener)
    first, *_ = sorted(partitions)
    listener.at_revoked = lambda: member.commit({first: 5})
    member.close()
    assert listener.told == [("assigned", partitions), ("revoked", partitions)]
    assert log.committed(group) == {first: 5}
    member.close()
    assert len(listener.told) == 2


def test_the_next_member_is_assigned_what_another_left(log, topics, partitions, join):
    filled(log, topics)
    for _ in range(2):
        listener = Listening()
        member = join(listener)
        until_assigned(member, listener)
        assert listener.told == [("assigned", partitions)]
        assert len(read_all(member, dict.fromkeys(partitions, 10))) == 40
        member.close()


def test_a_listeners_error_is_the_readers(join):
    listener = Listening()
    member = join(listener)

    def fail(_partitions) -> None:
        listener.told.append(("failed", frozenset()))
        raise ValueError("positions cannot be loaded")

    listener.assigned = fail
    with pytest.raises(ValueError, match="positions cannot be loaded"):
        until_assigned(member, listener)
