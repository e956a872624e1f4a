"""Whatever is read first, cut short, repeated or read again from the start: stores hold what the log says."""

import random
import tempfile
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from sqlite3 import connect

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from sluice.embedded.log import EmbeddedMembership
from sluice.embedded.models import EmbeddedEvidence, EmbeddedRouting, model_database
from sluice.embedded.sources import EmbeddedItems, EmbeddedPopularity, EmbeddedProfiles, source_database
from sluice.errors import StorageUnavailable
from sluice.events import NewRecord, Partition, StoredRecord
from sluice.records import Answer, encode
from sluice.routing import Routing
from sluice.topics import profiles_group, topics_of
from sluice_recommender.profiles.attribution import SLACK_MS
from sluice_recommender.profiles.credit import Credit, CreditedModel
from sluice_recommender.profiles.ledger import Ledger
from sluice_recommender.profiles.log_time import Clocks
from sluice_recommender.profiles.process import ProfilesProcess, Stores

TOPICS = topics_of("shop")
GROUP = profiles_group("shop")
MODEL = "default.home"
WINDOW_MS = 20
STEP_MS = 7
USERS = ("u", "v")


class MemoryLog:
    """A log of one partition a topic that is read in whatever slices ``chance`` gives, none of them starving."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.records: dict[str, list[StoredRecord]] = {topic: [] for topic in TOPICS}
        self.positions: dict[Partition, int] = {}
        self.now = 1_700_000_000_000

    def append(self, topic, records):
        for key, value, headers, _ in records:
            where = Partition(topic, 0)
            self.records[topic].append(
                StoredRecord(where, len(self.records[topic]), self.now, key, value, headers)
            )

    def partitions(self, topic):
        return [Partition(topic, 0)]

    def end_offsets(self, topic):
        return {Partition(topic, 0): len(self.records[topic])}

    def read(self, positions, limit, timeout_s):
        found = []
        for where, position in positions.items():
            there = self.records[where.topic][position:]
            found += there[: self.chance.randrange(4)]
        if found or all(positions[where] == len(self.records[where.topic]) for where in positions):
            return found
        return self.read(positions, limit, timeout_s)

    def begin_offsets(self, topic):
        return {Partition(topic, 0): 0}

    def offsets_at(self, topic, timestamp):
        records = self.records[topic]
        later = (each.offset for each in records if each.timestamp >= timestamp)
        return {Partition(topic, 0): next(later, len(records))}

    def join(self, group, topics, listener):
        return EmbeddedMembership(self, group, topics, listener)

    def commit(self, group, positions):
        self.positions.update(positions)

    def committed(self, group):
        assert group == GROUP
        return dict(self.positions)


class Crash(Exception):
    """The process ends here."""


class Crashing:
    """A store or log whose writes end the process now and then, before or after their effect."""

    def __init__(self, target, chance: random.Random, rate: float) -> None:
        self._target, self._chance, self._rate = target, chance, rate

    def __getattr__(self, name):
        method = getattr(self._target, name)
        if name == "join":
            return lambda *arguments: Crashing(method(*arguments), self._chance, self._rate)
        if name not in {"apply", "put", "delete", "describe", "record", "append", "commit"}:
            return method

        def called(*arguments):
            when = self._chance.random() / self._rate if self._rate else 2.0
            if when < 0.5:
                raise Crash
            done = method(*arguments)
            if when < 1.0:
                raise Crash
            return done

        return called


class Keeper:
    """Stores in a folder, and processes that work on them."""

    def __init__(self, folder: Path, log: MemoryLog, *, crash_rate: float = 0.0) -> None:
        self.folder, self.log, self._rate = folder, log, crash_rate
        database, model = source_database(folder / "source.db"), model_database(folder / "model.db")
        self.profiles, self.popularity = EmbeddedProfiles(database), EmbeddedPopularity(database)
        self.items, self.ledger = EmbeddedItems(database), Ledger(folder / "attribution.db", TOPICS)
        self.together = database.writing
        for each in (database, model, self.ledger.database):
            each.connection.execute("PRAGMA synchronous = OFF")  # nobody cuts the power here
        routing = EmbeddedRouting(model)
        routing.publish(Routing(epoch=1, rollout="r", stable="s1", candidate="s2", weight=5, renewed=0.0))
        self.credited = CreditedModel(MODEL, WINDOW_MS, routing, EmbeddedEvidence(model))

    def process(self) -> ProfilesProcess:
        def around(target):
            return Crashing(target, self.log.chance, self._rate)

        stores = Stores(
            around(self.profiles),
            around(self.popularity),
            around(self.items),
            around(self.ledger),
            self.together,
        )
        credit = Credit(self.ledger, [self.credited], TOPICS.answers)
        clocks = Clocks(lambda: self.log.now / 1e3, lambda: self.log.now / 1e3)
        return ProfilesProcess(around(self.log), "shop", {"cart": 3.0}, stores, credit, clocks)

    def work(self, after_each=lambda: None) -> None:
        """Read to the end, starting again after each crash."""
        process = None
        while process is None or self._lags():
            try:
                process = process or self.process()
                process.step(0.0)
                if self.log.chance.random() < 0.3:
                    process.credit()
            except Crash:
                process = None
            after_each()

    def _lags(self) -> bool:
        return any(
            self.log.positions.get(Partition(topic, 0), 0) < len(self.log.records[topic])
            for topic in TOPICS[:4]
        )

    def settle(self) -> None:
        """Let every window pass."""
        self.log.now += 60_000
        rate, self._rate = self._rate, 0.0
        process = self.process()
        process.step(0.0)
        self.log.now += 60_000  # an idle log's time goes on
        process.credit()
        self._rate = rate

    def shown(self):
        """What readers see of the users."""
        return {user: self.profiles.get(user) for user in USERS}

    def tallied(self):
        with closing(connect(self.folder / "attribution.db")) as database:
            rows = database.execute("SELECT snapshot, user_id, answers, hits FROM tallied ORDER BY 1, 2")
            return rows.fetchall()

    def state(self):
        letters = self.log.records[TOPICS.dead_letters]
        return (
            self.shown(),
            {item: pytest.approx(count) for item, count in self.popularity.top(99)},
            sorted(self.items.get(["a", "b", "c"])),
            sorted((dict(each.headers)["topic"], dict(each.headers)["offset"]) for each in letters),
            self.tallied(),
        )


def write(log: MemoryLog, acts) -> None:
    """Append what ``acts`` say, a moment apart."""
    numbers: dict[str, int] = defaultdict(int)
    for act, user, item, number in acts:
        log.now += STEP_MS
        numbers[act] += 1
        value: bytes | None
        if act == "wait":  # what is open now may be judged before the next is read
            log.now += 2 * SLACK_MS
            continue
        if act == "click":
            more = f',"event_id":"e{number}"' if number < 5 else f',"request_id":"r{number}"'
            topic, key = TOPICS.interactions, user
            value = f'{{"user_id":"{user}","item_id":"{item}"{more}}}'.encode()
        elif act == "forget":
            topic, key, value = (
                TOPICS.interactions,
                user,
                f'{{"user_id":"{user}","control":"forget"}}'.encode(),
            )
        elif act == "answer":
            topic, key = TOPICS.answers, user
            given_ms = log.now - number  # it waited that long to be written
            answer = Answer(
                request_id=f"r{numbers[act]}",
                user_id=user,
                model=MODEL,
                snapshot="s1" if number % 2 else "s2",
                items=(item, "a"),
                ts=given_ms,
            )
            value = encode(answer)
        elif act == "user":
            topic, key = TOPICS.users, user
            value = None if number < 3 else f'{{"user_id":"{user}","features":["f:{number}"]}}'.encode()
        elif act == "item":
            topic, key = TOPICS.items, item
            value = None if number < 3 else f'{{"item_id":"{item}"}}'.encode()
        else:
            topic, key, value = TOPICS[number % 4], user, b"\xffnonsense"
        log.append(topic, [NewRecord(key.encode(), value)])


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["click"] * 4 + ["answer"] * 3 + ["forget", "user", "item", "poison", "wait"]),
        st.sampled_from(USERS),
        st.sampled_from("abc"),
        st.integers(0, 9),
    ),
    max_size=40,
)


@settings(max_examples=50)
@given(acts=ACTS, seed=st.integers(0, 1 << 30), cut=st.integers(0, 40))
def test_any_reading_with_crashes_and_replays_ends_in_a_fresh_fold(acts, seed, cut):
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        once_log, log = MemoryLog(random.Random(0)), MemoryLog(chance)
        write(once_log, acts)
        once = Keeper(_made(folder, "once"), once_log)
        once.work()
        once.settle()

        keeper = Keeper(_made(folder, "often"), log, crash_rate=0.15)
        write(log, acts[:cut])
        keeper.work()
        write(log, acts[cut:])
        keeper.work()
        keeper.settle()
        assert keeper.state() == once.state()

        # From offset 0 into the stores as they are: no reader ever sees anything else.
        log.positions.clear()
        shown = keeper.shown()

        def unchanged() -> None:
            assert keeper.shown() == shown

        keeper.work(unchanged)
        keeper.settle()
        assert keeper.state() == once.state()


def _made(folder: str, name: str) -> Path:
    path = Path(folder) / name
    path.mkdir()
    return path


def clicks(*named):
    return [("click", "u", item, number) for item, number in named]


def test_a_forget_takes_back_what_was_counted_of_that_user_and_of_nobody_else(tmp_path):
    log = MemoryLog(random.Random(2))
    keeper = Keeper(tmp_path, log)
    write(log, [(act, user, "a", 5) for act in ("answer", "click") for user in USERS])
    keeper.work()
    keeper.settle()
    assert keeper.tallied() == [("s1", "u", 1, 1), ("s1", "v", 1, 1)]
    write(log, [("forget", "u", "a", 0)])
    keeper.work()
    keeper.settle()
    assert keeper.tallied() == [("s1", "v", 1, 1)]
    assert dict(keeper.popularity.top(9)).keys() == {"a"}, "sums over users stay"


FORGETS = {
    "an answer given before, read after": [("answer", "u", "b", 0), ("forget", "u", "a", 0)],
    "an answer given before, written after": [("forget", "u", "a", 0), ("answer", "u", "b", 9)],
    "an answer given before and clicked after": [
        ("answer", "u", "b", 0),
        ("forget", "u", "a", 0),
        *clicks(("b", 5)),
    ],
}


@pytest.mark.parametrize("name", FORGETS)
@pytest.mark.parametrize("seed", range(8))
def test_a_forget_voids_answers_whichever_topic_is_read_first(tmp_path, name, seed):
    log = MemoryLog(random.Random(seed))
    keeper = Keeper(tmp_path, log)
    write(log, FORGETS[name])
    keeper.work()
    keeper.settle()
    assert keeper.tallied() == []


@pytest.mark.parametrize("seed", range(8))
def test_an_answer_given_after_a_forget_counts_whichever_topic_is_read_first(tmp_path, seed):
    log = MemoryLog(random.Random(seed))
    keeper = Keeper(tmp_path, log)
    write(log, [*clicks(("a", 5)), ("forget", "u", "a", 0), ("answer", "u", "b", 1), *clicks(("b", 5))])
    keeper.work()
    keeper.settle()
    assert keeper.tallied() == [("s1", "u", 1, 1)]


def test_a_repeat_is_left_out_of_profile_popularity_and_credit_across_a_restart(tmp_path):
    log = MemoryLog(random.Random(1))
    keeper = Keeper(tmp_path, log)
    write(log, clicks(("a", 1)))
    keeper.work()
    write(log, [("answer", "u", "b", 1), *clicks(("b", 1), ("a", 1), ("c", 2))])
    keeper.work()  # another process, which has read the ids again
    keeper.settle()
    assert [each.item_id for each in keeper.profiles.get("u").recent] == ["c", "a"]
    assert {item for item, _ in keeper.popularity.top(9)} == {"a", "c"}
    assert keeper.tallied() == [("s1", "u", 1, 0)]


def test_an_event_that_a_store_could_not_take_is_not_its_own_repeat(tmp_path):
    class Down:
        """A store that fails once before its effect."""

        def __init__(self, target):
            self._target, self._failed = target, False

        def apply(self, *arguments):
            if not self._failed:
                self._failed = True
                raise StorageUnavailable("the store is away")
            self._target.apply(*arguments)

    log = MemoryLog(random.Random(1))
    keeper = Keeper(tmp_path, log)
    write(log, clicks(("a", 1)))
    keeper.profiles, profiles = Down(keeper.profiles), keeper.profiles
    process = keeper.process()
    with pytest.raises(StorageUnavailable):
        process.step(0.0)
    process.step(0.0)
    assert profiles.get("u").seen == ("a",)
    assert log.positions[Partition(TOPICS.interactions, 0)] == 1


@pytest.mark.parametrize("killed_again", [False, True])
def test_a_shorter_batch_after_a_crash_leaves_the_letters_ahead_of_it_written_once(tmp_path, killed_again):
    class Bits(MemoryLog):
        """Gives three records, then, read again, one at a time."""

        least = 3

        def read(self, positions, limit, timeout_s):
            found = []
            for where, position in positions.items():
                found += self.records[where.topic][position : position + self.least]
            return found

    class NoCommit(Bits):
        def commit(self, group, positions):
            raise Crash

    log = NoCommit(random.Random(1))
    keeper = Keeper(tmp_path, log)
    write(log, [("poison", "u", "a", 0)] * 3)
    with pytest.raises(Crash):
        keeper.process().step(0.0)
    log.__class__, log.least = Bits, 1
    process = keeper.process()
    for _ in range(3):
        process.step(0.0)
        process = keeper.process() if killed_again else process
    assert len(log.records[TOPICS.dead_letters]) == 3
    assert log.positions[Partition(TOPICS.dead_letters, 0)] == 3
