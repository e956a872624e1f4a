"""Several members share a source: whenever partitions move, also in mid-batch, the stores hold what one alone makes."""

import itertools
import random
import tempfile
from pathlib import Path
from zlib import crc32

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from prometheus_client import REGISTRY

from sluice import metrics
from sluice.embedded.models import EmbeddedEvidence, EmbeddedRouting, model_database
from sluice.embedded.sources import EmbeddedItems, EmbeddedPopularity, EmbeddedProfiles, source_database
from sluice.errors import OffsetOutOfRange, StorageUnavailable
from sluice.events import NewRecord, Partition, StoredRecord
from sluice.items import growth
from sluice.records import Answer, encode
from sluice.routing import Routing
from sluice.topics import profiles_group, topics_of
from sluice_recommender.profiles.credit import Credit, CreditedModel
from sluice_recommender.profiles.ledger import Ledger
from sluice_recommender.profiles.log_time import Clocks
from sluice_recommender.profiles.process import ProfilesProcess, Stores

TOPICS = topics_of("shop")
GROUP = profiles_group("shop")
MODEL = "default.home"
WINDOW_MS = 30
PARTS = 4
USERS = [f"u{number}" for number in range(8)]
BEGAN = 1_700_000_000_000


class Killed(Exception):
    """The process ends here."""


class GroupLog:
    """A log in memory whose partitions are dealt to members; they learn of it when they read or stay."""

    def __init__(self) -> None:
        self.records = {Partition(topic, part): [] for topic in TOPICS for part in range(PARTS)}
        self.begins = dict.fromkeys(self.records, 0)
        self.positions: dict[Partition, int] = {}
        self.members: list[Member] = []
        self.now = BEGAN

    def append(self, topic, records):
        for key, value, headers, named in records:
            where = Partition(topic, (crc32(key) if named is None else named) % PARTS)
            there = self.records[where]
            there.append(StoredRecord(where, len(there), self.now, key, value, headers))

    def partitions(self, topic):
        return [Partition(topic, part) for part in range(PARTS)]

    def begin_offsets(self, topic):
        return {each: self.begins[each] for each in self.partitions(topic)}

    def end_offsets(self, topic):
        return {each: len(self.records[each]) for each in self.partitions(topic)}

    def offsets_at(self, topic, timestamp):
        return {
            each: next((r.offset for r in self.records[each] if r.timestamp >= timestamp), end)
            for each, end in self.end_offsets(topic).items()
        }

    def read(self, positions, limit, timeout_s):
        for where, at in positions.items():
            if not self.begins[where] <= at <= len(self.records[where]):
                raise OffsetOutOfRange(*where, at, self.begins[where], len(self.records[where]))
        share = max(1, limit // max(1, len(positions)))
        return [each for where, at in positions.items() for each in self.records[where][at : at + share]]

    def committed(self, group):
        assert group == GROUP
        return dict(self.positions)

    def join(self, group, topics, listener):
        member = Member(self, topics, listener)
        self.members.append(member)
        self.deal()
        return member

    def deal(self):
        """Take everything back and deal it anew, as soon as all living members know."""
        for member in self.members:
            member.moved = True
        for number, member in enumerate(self.members):
            member.next = [
                Partition(topic, part)
                for topic in member.topics
                for part in range(PARTS)
                if part % len(self.members) == number
            ]

    def expel(self, member):
        """Believe a member dead."""
        if member in self.members:
            self.members.remove(member)
            member.next, member.moved, member.expelled = [], True, True
            self.deal()


class Member:
    def __init__(self, log, topics, listener):
        self.log, self.topics, self.listener = log, topics, listener
        self.own: list[Partition] = []
        self.next: list[Partition] = []
        self.moved = self.expelled = False
        self.refusals = 0

    def _hear(self):
        """Tell of changes; new partitions come once no other living member has them."""
        told = self.moved
        if self.moved:
            self.moved, own, self.own = False, self.own, self.own
            if own:
                (self.listener.lost if self.expelled else self.listener.revoked)(own)
            self.own = []
            if self.expelled:  # it joins again, as the client does by itself
                self.expelled = False
                self.log.members.append(self)
                self.log.deal()
        elif self.next and not any(
            set(each.own) & set(self.next) for each in self.log.members if each is not self
        ):
            self.own, self.next, told = self.next, [], True
            self.listener.assigned(self.own)
        return told

    def read(self, positions, limit, timeout_s):
        if self._hear():
            return []
        assert positions.keys() <= set(self.own), "only what is its own is read"
        return self.log.read(positions, limit, timeout_s)

    def stay(self):
        self._hear()

    def commit(self, positions):
        if self.refusals:
            self.refusals -= 1
            raise StorageUnavailable("a rebalance is going on")
        if self.expelled or not {each for each in positions if each.topic in self.topics} <= set(self.own):
            raise StorageUnavailable("another member has these partitions")
        self.log.positions.update(positions)

    def close(self):
        if self in self.log.members:
            if self.own:
                self.listener.revoked(self.own)
            self.own = []
            self.log.members.remove(self)
            self.log.deal()


class Interrupted:
    """A store or log at whose writes something else may happen: others go on, this one is expelled, or is killed."""

    def __init__(self, target, happens, *, after=False):
        self._target, self._happens, self._after = target, happens, after

    def __getattr__(self, name):
        method = getattr(self._target, name)
        if name not in {"apply", "put", "delete", "describe", "record", "append"}:
            return method

        def called(*arguments):
            if not self._after:
                self._happens()
            done = method(*arguments)
            if self._after:
                self._happens()
            return done

        return called


class Shop:
    """The stores that all share; each process has a ledger of its own."""

    def __init__(self, folder: Path, log: GroupLog, seed: int) -> None:
        self.folder, self.log, self.chance = folder, log, random.Random(seed)
        self.database, self.model = source_database(folder / "source.db"), model_database(folder / "model.db")
        for each in (self.database, self.model):
            each.connection.execute("PRAGMA synchronous = OFF")  # nobody cuts the power here
        self.profiles, self.items = EmbeddedProfiles(self.database), EmbeddedItems(self.database)
        self.popularity = EmbeddedPopularity(self.database)
        self.routing, self.evidence = EmbeddedRouting(self.model), EmbeddedEvidence(self.model)
        self.roll(1, BEGAN)
        self.numbers, self.running = itertools.count(), dict[int, ProfilesProcess]()
        self.busy, self.quiet, self.slept_ms = list[int](), False, 0

    def roll(self, number: int, since: int) -> None:
        """Begin a rollout, of which processes learn when they look."""
        snapshots = {"stable": "s1", "candidate": "s2", "weight": 5}
        times = {"renewed": self.log.now / 1e3, "since": since / 1e3}
        self.routing.publish(Routing(epoch=number, rollout=f"r{number}", **snapshots, **times))

    def start(self) -> None:
        number = next(self.numbers)
        path = self.folder / f"{self.chance.randrange(3) if not self.quiet else number + 9}.db"
        ledger = Ledger(path, TOPICS)
        ledger.database.connection.execute("PRAGMA synchronous = OFF")
        credit = Credit(
            ledger, [CreditedModel(MODEL, WINDOW_MS, self.routing, self.evidence)], TOPICS.answers
        )

        def around(target):
            return Interrupted(target, lambda: self.interrupt(number))

        stores = Stores(around(self.profiles), around(self.popularity), around(self.items), around(ledger))
        clocks = Clocks(lambda: self.log.now / 1e3, lambda: (self.log.now + self.slept_ms) / 1e3)
        log = Interrupted(self.log, lambda: self.interrupt(number), after=True)
        self.running[number] = ProfilesProcess(log, "shop", {"cart": 3.0}, stores, credit, clocks)

    def member(self, number: int) -> Member:
        return self.running[number]._member

    def interrupt(self, number: int) -> None:
        """In mid-batch of one, something happens now and then."""
        if self.quiet or self.chance.random() > 0.1:
            return
        what = self.chance.choice(["sleep", "sleep", "rebalance", "refuse", "lose", "die"])
        if what == "die":
            raise Killed
        if what in ("refuse", "lose"):
            self.member(number).refusals += 2
        if what in ("sleep", "lose"):
            self.slept_ms += 11_000
            self.log.expel(self.member(number))
        if what == "rebalance":
            self.log.deal()
        for _ in range(self.chance.randrange(12) if what in ("sleep", "rebalance") else 0):
            others = [each for each in self.running if each not in self.busy]
            if others:
                self.step(self.chance.choice(others))

    def step(self, number: int) -> None:
        self.busy.append(number)
        try:
            self.running[number].step(0.0)
            if self.chance.random() < 0.3:
                self.running[number].credit()
        except StorageUnavailable:
            pass
        except Killed:
            member = self.running.pop(number)._member
            self.log.expel(member)
            member.expelled = False  # nobody hears it any more
        self.busy.remove(number)

    def work(self, most: int = 3) -> None:
        """Let members come, go and work until all is committed and nothing happens any more."""
        for _ in range(60):
            if len(self.running) < most and (not self.running or self.chance.random() < 0.2):
                self.start()
            number = self.chance.choice(list(self.running))
            if len(self.running) > 1 and self.chance.random() < 0.04:
                self.running.pop(number).close()
            else:
                self.step(number)

    def settle(self) -> None:
        """End in peace: whoever is there reads what is left, and every window passes."""
        self.quiet = True
        if not self.running:
            self.start()
        for _ in range(40):
            for number in list(self.running):
                self.step(number)
        ends = {each: end for topic in TOPICS[:4] for each, end in self.log.end_offsets(topic).items()}
        assert {each: self.log.positions.get(each, 0) for each in ends} == ends, "all is committed"
        self.log.now += 60_000
        for _ in range(3):
            for process in self.running.values():
                process.step(0.0)
                process.credit()

    def state(self):
        letters = [
            dict(record.headers)
            for each in self.log.partitions(TOPICS.dead_letters)
            for record in self.log.records[each]
        ]
        totals = self.evidence.totals("r2", 0)
        return {
            "profiles": {user: _shown(self.profiles.get(user)) for user in USERS},
            "popularity": {item: pytest.approx(count) for item, count in self.popularity.top(99)},
            "items": sorted(self.items.get(["a", "b", "c"])),
            "letters": sorted((each["topic"], each["partition"], each["offset"]) for each in letters),
            "hits": {name: hits for name, hits in totals.hits.items() if hits.answers},
        }


def _shown(profile):
    return profile and (profile.recent, profile.seen, profile.features)


def write(log: GroupLog, acts) -> None:
    """Append what ``acts`` say, a moment apart."""
    for place, (act, user, item, number) in enumerate(acts):
        log.now += 7
        if act == "click":
            more = f',"event_id":"e{number}"' if number < 5 else f',"request_id":"r{number}"'
            topic, key, value = TOPICS.interactions, user, f'{{"user_id":"{user}","item_id":"{item}"{more}}}'
        elif act == "forget":
            topic, key, value = TOPICS.interactions, user, f'{{"user_id":"{user}","control":"forget"}}'
        elif act == "answer":
            answer = Answer(
                request_id=f"r{place % 10}",
                user_id=user,
                model=MODEL,
                snapshot="s1" if number % 2 else "s2",
                items=(item, "a"),
                ts=log.now - number,
            )
            topic, key, value = TOPICS.answers, user, encode(answer).decode()
        elif act == "user":
            topic, key = TOPICS.users, user
            value = None if number < 3 else f'{{"user_id":"{user}","features":["f:{number}"]}}'
        elif act == "item":
            topic, key = TOPICS.items, item
            value = None if number < 3 else f'{{"item_id":"{item}"}}'
        elif act == "wait":  # what is open now may be judged before the next is read
            log.now += number * 500
            continue
        else:
            topic, key, value = TOPICS[number % 4], user, "{nonsense"
        log.append(topic, [NewRecord(key.encode(), None if value is None else value.encode())])


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["click"] * 5 + ["answer"] * 4 + ["forget", "user", "item", "poison", "wait"]),
        st.sampled_from(USERS),
        st.sampled_from("abc"),
        st.integers(0, 9),
    ),
    max_size=60,
)


@settings(max_examples=60)
@given(acts=ACTS, seed=st.integers(0, 1 << 30), cut=st.integers(0, 60))
def test_members_that_come_go_sleep_and_die_make_what_one_alone_makes(acts, seed, cut):
    with tempfile.TemporaryDirectory() as folder:
        alone, shared = shop(folder, "alone", seed), shop(folder, "shared", seed)
        since = [lead_on(each, acts, cut) for each in (alone, shared)]
        assert since[0] == since[1]
        for each in (alone, shared):
            each.roll(2, since[0])
        shared.work()
        for each in (alone, shared):
            each.settle()
        assert shared.state() == alone.state()


def lead_on(shop: Shop, acts, cut: int) -> int:
    """Write ``acts``, of one that is not alone while it works; return when those behind ``cut`` began."""
    write(shop.log, acts[:cut])
    if shop.folder.name == "shared":
        shop.work()
    since = shop.log.now
    write(shop.log, acts[cut:])
    if shop.folder.name == "shared":
        shop.work()
    return since


def shop(folder: str, name: str, seed: int) -> Shop:
    path = Path(folder) / name
    path.mkdir()
    return Shop(path, GroupLog(), seed)


class Down:
    """A store that takes nothing while it is down."""

    def __init__(self, target):
        self.target, self.down = target, True

    def __getattr__(self, name):
        method = getattr(self.target, name)

        def called(*arguments):
            if self.down:
                raise StorageUnavailable("the store is away")
            return method(*arguments)

        return called


def clicks(log: GroupLog, *event_ids: str) -> None:
    for event_id in event_ids:
        value = f'{{"user_id":"u1","item_id":"a","event_id":"{event_id}"}}'
        log.append(TOPICS.interactions, [NewRecord(b"u1", value.encode())])


@pytest.mark.parametrize("others", [0, 1])
def test_a_batch_given_up_is_no_repeat_of_itself_when_it_comes_back(tmp_path, others):
    world = Shop(tmp_path, GroupLog(), 1)
    world.quiet = True
    world.start()
    process = world.running[0]
    for _ in range(3):
        process.step(0.0)
    stores = process._stores
    down = Down(stores.profiles)
    process._stores = stores._replace(profiles=down)
    clicks(world.log, "e1", "e2", "e1")
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            process.step(0.0)
    for _ in range(others):  # one that comes and goes before it has done anything
        world.start()
        for _ in range(3):
            world.running[0]._member.stay()
        world.running.pop(1).close()
    world.log.expel(process._member)
    down.down = False
    for _ in range(5):
        process.step(0.0)
    assert [count for _, count in world.popularity.top(9)] == [pytest.approx(2 * _growth(BEGAN))]
    assert len(world.profiles.get("u1").recent) == 2


def _growth(at_ms: int) -> float:
    return growth(at_ms / 1e3)


def siblings(partition):
    """Positions of the partitions of equal number: all of a number are committed together."""
    topics = (TOPICS.interactions, TOPICS.answers, TOPICS.items, TOPICS.users)
    return {Partition(topic, partition.number): 0 for topic in topics}


def test_the_records_of_a_partition_that_were_deleted_unread_are_told_and_passed_over(tmp_path):
    world = Shop(tmp_path, GroupLog(), 1)
    world.quiet = True
    world.start()
    clicks(world.log, "e1", "e2", "e3", "e4")
    [where] = [each for each, there in world.log.records.items() if there]
    labels = {"topic": where.topic, "partition": str(where.number)}
    before = REGISTRY.get_sample_value(metrics.LOST, labels) or 0.0
    world.log.begins[where] = 3
    world.log.positions.update(siblings(where))
    world.log.positions[where] = 1
    for _ in range(3):
        world.running[0].step(0.0)
    assert REGISTRY.get_sample_value(metrics.LOST, labels) - before == 2
    assert len(world.profiles.get("u1").recent) == 1
    assert world.log.positions[where] == 4


@pytest.mark.parametrize("position", [7, 900_000])
def test_behind_the_end_of_a_topic_that_was_created_anew_nothing_is_applied(tmp_path, position):
    world = Shop(tmp_path, GroupLog(), 1)
    world.quiet = True
    world.start()
    clicks(world.log, "e1", "e2")
    [where] = [each for each, there in world.log.records.items() if there]
    world.log.positions.update(siblings(where))
    world.log.positions[where] = position
    world.running[0]._member.stay()
    for _ in range(3):
        with pytest.raises(StorageUnavailable, match="created anew"):
            world.running[0].step(0.0)
    assert world.profiles.get("u1") is None


class SlowToLearn(GroupLog):
    """A log whose group assigns a partition that was added, before offsets of it are told."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.method, self.added = method, {Partition(topic, PARTS - 1) for topic in TOPICS}

    def _known(self, method: str, offsets):
        hidden = self.added if method == self.method else set()
        return {each: offset for each, offset in offsets.items() if each not in hidden}

    def begin_offsets(self, topic):
        return self._known("begin_offsets", super().begin_offsets(topic))

    def end_offsets(self, topic):
        return self._known("end_offsets", super().end_offsets(topic))

    def offsets_at(self, topic, timestamp):
        return self._known("offsets_at", super().offsets_at(topic, timestamp))


@pytest.mark.parametrize("method", ["begin_offsets", "end_offsets", "offsets_at"])
def test_a_partition_added_while_members_read_is_waited_for(tmp_path, method):
    log = SlowToLearn(method)
    world = Shop(tmp_path, log, 1)
    world.quiet = True
    world.start()
    for part in range(PARTS):
        log.append(TOPICS.interactions, [NewRecord(b"k", f"u{part}:a".encode(), partition=part)])
        log.append(TOPICS.interactions, [NewRecord(b"k", b"{nonsense", partition=part)])
    for _ in range(4):
        world.step(0)  # raises for anything but a store that cannot answer
    log.added = set()
    world.settle()
    assert all(world.profiles.get(f"u{part}") is not None for part in range(PARTS))
    assert sum(len(log.records[each]) for each in log.partitions(TOPICS.dead_letters)) == PARTS


def test_each_commits_the_ends_of_its_own_dead_letters_alone(tmp_path):
    world = Shop(tmp_path, GroupLog(), 1)
    world.quiet = True
    for _ in range(2):
        world.start()
    for part in range(PARTS):
        world.log.append(TOPICS.interactions, [NewRecord(b"k", b"{nonsense", partition=part)])
    for _ in range(6):
        world.running[0].step(0.0)
        world.running[1]._member.stay()
    own = {each.number for each in world.member(0).own}
    committed = {
        each.number for each, end in world.log.positions.items() if each.topic == TOPICS.dead_letters and end
    }
    assert committed == own
    assert len(own) == PARTS // 2
    for part in range(PARTS):
        letters = world.log.records[Partition(TOPICS.dead_letters, part)]
        assert len(letters) == (part in own), "a letter lies where its record does"


def test_of_partitions_that_went_elsewhere_nothing_is_kept_for_long(tmp_path):
    world = Shop(tmp_path, GroupLog(), 1)
    world.quiet = True
    world.start()
    first = world.running[0]
    for user in USERS:
        world.log.append(TOPICS.interactions, [NewRecord(user.encode(), f"{user}:a".encode())])
    for _ in range(4):
        first.step(0.0)
    ledger = first._stores.ledger._target
    assert ledger.numbers() == set(range(PARTS))
    world.start()
    for _ in range(6):
        first.step(0.0)
        world.running[1]._member.stay()
    first.credit()
    assert ledger.numbers() == set(range(PARTS)), "they may come back at once"
    world.slept_ms += 61_000
    first.credit()
    assert ledger.numbers() == {each.number for each in world.member(0).own}
    assert {part for (part,) in ledger.database.read("SELECT part FROM clicks")} <= ledger.numbers()
