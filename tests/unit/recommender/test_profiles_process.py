"""The profiles process over the embedded adapters: what it keeps, and that a crash anywhere changes nothing."""

import itertools
import time
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from sluice import metrics
from sluice.embedded.home import Home
from sluice.embedded.models import EmbeddedEvidence, EmbeddedRouting
from sluice.embedded.sources import EmbeddedItems, EmbeddedPopularity, EmbeddedProfiles
from sluice.errors import StorageUnavailable
from sluice.events import NewRecord, Partition
from sluice.items import growth
from sluice.records import Answer, encode
from sluice.routing import Routing
from sluice.topics import profiles_group, topics_of
from sluice_recommender.profiles.credit import Credit, CreditedModel
from sluice_recommender.profiles.ledger import Ledger
from sluice_recommender.profiles.log_time import Clocks
from sluice_recommender.profiles.process import ProfilesProcess, Stores

TOPICS = topics_of("shop")
MODEL = "default.home"
WINDOW_MS = 60_000


class Crash(Exception):
    """The process ends here."""


class CrashingAt:
    """Passes calls on until the ``call``-th one of the process, which ends it before or after its effect."""

    def __init__(self, call, *, after):
        self.left, self.after = call, after

    def around(self, target):
        crash = self

        class Proxy:
            def __getattr__(self, name):
                method = getattr(target, name)
                if name == "join":
                    return lambda *arguments: crash.around(method(*arguments))
                if name not in {"apply", "put", "delete", "describe", "record", "append", "commit"}:
                    return method

                def called(*arguments):
                    crash.left -= 1
                    if crash.left == 0 and not crash.after:
                        raise Crash
                    done = method(*arguments)
                    if crash.left == 0:
                        raise Crash
                    return done

                return called

        return Proxy()


class World:
    def __init__(self, folder: Path):
        self.home, self.ahead_s = Home(folder), 0.0
        self.log, database, model = self.home.log("shop"), self.home.source("shop"), self.home.model(MODEL)
        self.profiles, self.items = EmbeddedProfiles(database), EmbeddedItems(database)
        self.popularity, self.ledger = (
            EmbeddedPopularity(database),
            Ledger(folder / "attribution-shop.db", TOPICS),
        )
        self.routing, self.evidence = EmbeddedRouting(model), EmbeddedEvidence(model)
        self.given = itertools.count()

    def process(self, crash=None, log=None):
        around = crash.around if crash else lambda target: target
        credited = CreditedModel(MODEL, WINDOW_MS, self.routing, self.evidence)
        return ProfilesProcess(
            log or around(self.log),
            "shop",
            {"cart": 3.0},
            Stores(around(self.profiles), around(self.popularity), around(self.items), around(self.ledger)),
            Credit(self.ledger, [credited], TOPICS.answers),
            Clocks(lambda: time.time() + self.ahead_s, lambda: time.monotonic() + self.ahead_s),
        )

    def drain(self, process=None):
        process = process or self.process()
        while process.step(0.0):
            pass
        return process

    def send(self, topic, key, value):
        self.log.append(topic, [NewRecord(key.encode(), value)])

    def click(self, user, item, **fields):
        more = "".join(f',"{name}":"{value}"' for name, value in fields.items())
        self.send(TOPICS.interactions, user, f'{{"user_id":"{user}","item_id":"{item}"{more}}}'.encode())

    def answer(self, user, items, snapshot="s1", request_id=None):
        given = Answer(
            request_id=request_id or f"request {next(self.given)}",
            user_id=user,
            model=MODEL,
            snapshot=snapshot,
            items=tuple(items),
            ts=int(time.time() * 1e3),
        )
        self.send(TOPICS.answers, user, encode(given))

    def letters(self):
        positions = dict.fromkeys(self.log.partitions(TOPICS.dead_letters), 0)
        return self.log.read(positions, 10_000, 0.0)

    def roll(self, rollout="r1", **changes):
        values = {"epoch": 1, "stable": "s1", "candidate": "s2", "weight": 5, "renewed": time.time() - 5}
        self.routing.publish(Routing(rollout=rollout, **{**values, **changes}))

    def hits(self, rollout="r1"):
        return self.evidence.totals(rollout, 0).hits


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def recent(world, user):
    return [each.item_id for each in world.profiles.get(user).recent]


def test_interactions_make_profiles_and_popularity(world):
    world.click("u", "a")
    world.click("u", "b", event="cart")
    world.send(TOPICS.interactions, "v", b"v:a")
    world.drain()
    assert recent(world, "u") == ["b", "a"]
    assert recent(world, "v") == ["a"]
    now = growth(time.time())
    assert [(item, round(count / now, 3)) for item, count in world.popularity.top(9)] == [
        ("b", 3.0),
        ("a", 2.0),
    ]


def test_items_and_users_are_kept_and_tombstones_delete(world):
    world.send(TOPICS.items, "a", b'{"item_id":"a","title":"A"}')
    world.send(TOPICS.items, "b", b'{"item_id":"b"}')
    world.send(TOPICS.items, "b", None)
    world.send(TOPICS.users, "u", b'{"user_id":"u","features":["age:3"]}')
    world.send(TOPICS.users, "v", b'{"user_id":"v","features":["age:4"]}')
    world.send(TOPICS.users, "v", None)
    world.drain()
    assert world.items.get(["a", "b"])["a"].title == "A"
    assert "b" not in world.items.get(["a", "b"])
    assert world.profiles.get("u").features == ("age:3",)
    assert world.profiles.get("v") is None


def test_forgetting_voids_what_was_before(world):
    world.click("u", "a")
    world.send(TOPICS.interactions, "u", b'{"user_id":"u","control":"forget"}')
    world.click("u", "b")
    world.drain()
    assert recent(world, "u") == ["b"]


BAD = [
    (TOPICS.interactions, b"nonsense", b"bad-shape"),
    (TOPICS.interactions, b"\xff\xfe", b"bad-utf8"),
    (TOPICS.interactions, b"{", b"bad-json"),
    (TOPICS.interactions, b'{"user_id":"u"}', b"missing-field"),
    (TOPICS.interactions, b'{"user_id":"u","item_id":"' + b"x" * 10_000 + b'"}', b"bad-id"),
    (TOPICS.interactions, b'{"user_id":"u","item_id":"a","value":NaN}', b"bad-json"),
    (TOPICS.interactions, None, b"empty"),
    (TOPICS.answers, b"{}", b"bad-field"),
    (TOPICS.items, b'{"title":"A"}', b"missing-field"),
    (TOPICS.items, b'{"item_id":"another"}', b"bad-key"),
    (TOPICS.users, b"[]", b"bad-shape"),
    (TOPICS.users, b'{"user_id":"another"}', b"bad-key"),
]


def test_what_cannot_be_read_becomes_a_dead_letter_and_the_partition_moves_on(world):
    for topic, value, _ in BAD:
        world.send(topic, "u", value)
    world.click("u", "a")
    world.drain()
    assert recent(world, "u") == ["a"]
    letters = {
        (dict(each.headers)["topic"].decode(), each.value): dict(each.headers) for each in world.letters()
    }
    assert {key: headers["reason"] for key, headers in letters.items()} == {
        (topic, value): reason for topic, value, reason in BAD
    }
    assert all(headers["offset"].isdigit() and headers["partition"].isdigit() for headers in letters.values())


def test_a_dead_letter_topic_that_is_down_stops_the_partition(world):
    class DeadLettersDown:
        def __getattr__(self, name):
            return getattr(world.log, name)

        def append(self, topic, records):
            raise StorageUnavailable("the log is full; check the disk")

    world.send(TOPICS.interactions, "u", b"nonsense")
    process = world.process(log=DeadLettersDown())
    with pytest.raises(StorageUnavailable):
        process.step(0.0)
    assert not any(world.log.committed(profiles_group("shop")).values())
    world.drain()
    assert len(world.letters()) == 1


def test_the_gauge_of_dead_letters_counts_those_of_trainers_too(world):
    world.click("u", "a")
    world.send(TOPICS.interactions, "u", b"nonsense")
    process = world.drain()
    world.send(TOPICS.dead_letters, "u", b"what a learner refused")
    process.credit()
    assert REGISTRY.get_sample_value(metrics.DEAD_LETTERS) == 2


USERS = ("ann", "bob", "cat", "dan")  # two on each partition


def scenario(world):
    world.roll()
    for number, user in enumerate(USERS):
        world.answer(user, "abc", snapshot="s1" if number % 2 else "s2", request_id=f"r{number}")
        world.click(user, "a")
        world.click(user, "b", event="cart", request_id=f"r{number}")
        world.send(TOPICS.interactions, user, b"nonsense %d" % number)
        world.send(TOPICS.items, f"i{number}", b'{"item_id":"i%d"}' % number)


def state(world):
    counts = {item: round(count / growth(time.time()), 2) for item, count in world.popularity.top(99)}
    world.ahead_s = 1_000.0
    world.drain().credit()
    return (
        {user: recent(world, user) for user in USERS},
        counts,
        sorted(letter.value for letter in world.letters()),
        world.hits(),
    )


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_call_ends_in_the_same_state(tmp_path, after):
    undisturbed = World(tmp_path / "undisturbed")
    scenario(undisturbed)
    undisturbed.drain()
    expected = state(undisturbed)
    for call in range(1, 100):
        world = World(tmp_path / f"crash-{call}")
        scenario(world)
        try:
            world.drain(world.process(CrashingAt(call, after=after)))
        except Crash:
            world.click("late", "z")  # the batch that is read again is a longer one
            world.send(TOPICS.interactions, "late", b"late nonsense")
            world.drain()
            profiles, counts, letters, hits = state(world)
            assert counts.pop("z") == 1.0
            letters.remove(b"late nonsense")
            assert (profiles, counts, letters, hits) == expected, f"crashed at call {call}"
        else:
            assert call > 8
            return
    pytest.fail("the process never came to its end")


def test_answers_count_when_their_window_has_passed(world):
    world.roll()
    world.answer("u", "ab")
    world.answer("v", "ab", snapshot="s2")
    world.click("u", "a")
    process = world.drain()
    process.credit()
    assert world.hits() == {}
    assert world.evidence.totals("r1", 0).hits_at is not None, "a heartbeat"
    world.ahead_s = WINDOW_MS / 1e3 + 60
    process.credit()
    hits = world.hits()
    assert (hits["s1"].users, hits["s1"].answers, hits["s1"].hits) == (1, 1, 1)
    assert (hits["s2"].users, hits["s2"].answers, hits["s2"].hits) == (1, 1, 0)


def test_evidence_is_cumulative_and_survives_a_restart(world):
    world.roll()
    for _ in range(3):
        world.answer("u", "ab")
        world.click("u", "a")
        process = world.drain()
        world.ahead_s += WINDOW_MS / 1e3 + 60
        process.credit()
        process.credit()
    hits = world.hits()["s1"]
    assert (hits.users, hits.answers, hits.answers_squared) == (1, 3, 9.0)


def test_a_clock_that_was_ahead_for_a_moment_blocks_nothing(world):
    world.roll()
    process = world.drain()
    for ahead_s in (0.0, 9_000.0, 0.0):
        world.ahead_s = ahead_s
        process.credit()
    assert world.evidence.totals("r1", 0).hits_at < time.time() + 60
    world.answer("u", "ab")
    world.drain(process)
    for ahead_s in (2 * WINDOW_MS / 1e3, 9_000.0, 2 * WINDOW_MS / 1e3):
        world.ahead_s = ahead_s
        process.credit()
    assert world.hits()["s1"].answers == 1


def test_forgetting_changes_the_evidence_at_once(world):
    world.roll()
    for user, snapshot in (("u", "s1"), ("v", "s1"), ("u", "s2")):
        world.answer(user, "ab", snapshot=snapshot)
    process = world.drain()
    world.ahead_s = WINDOW_MS / 1e3 + 60
    process.credit()
    assert {name: hits.answers for name, hits in world.hits().items()} == {"s1": 2, "s2": 1}
    world.send(TOPICS.interactions, "u", b'{"user_id":"u","control":"forget"}')
    process = world.drain()  # of another process: what it has to tell is durable
    process.credit()
    assert {name: hits.answers for name, hits in world.hits().items()} == {"s1": 1, "s2": 0}


def stamped(world, user, behind, ahead_s):
    """Append an answer that a host stamps whose clock is ahead, and more of the right time behind it."""
    connection = world.log._database.connection
    world.answer(user, "ab")
    connection.execute(
        "UPDATE records SET timestamp = timestamp + :ahead WHERE topic = :topic AND key = :key AND offset ="
        " (SELECT max(offset) FROM records WHERE topic = :topic AND key = :key)",
        {"ahead": int(ahead_s * 1e3), "topic": TOPICS.answers, "key": user.encode()},
    )
    for _ in range(behind):
        world.answer(user, "ab")


def test_an_answer_of_a_host_whose_clock_is_ahead_keeps_none_behind_it_waiting(world):
    world.roll()
    process = world.process()
    world.answer("u", "ab")
    stamped(world, "u", 2, ahead_s=9_000.0)
    world.drain(process)
    process.credit()
    assert world.hits() == {}
    world.ahead_s = WINDOW_MS / 1e3 + 60
    process.credit()
    assert world.hits()["s1"].answers == 4


def test_answers_stay_until_they_are_judged(world):
    world.roll()
    process = world.process()
    stamped(world, "u", 0, ahead_s=600.0)
    for user in ("u", "u"):
        world.answer(user, "ab")
    world.drain(process)
    watermark = int(time.time() * 1e3) + 10 * WINDOW_MS
    parts = {part.number: watermark for part in world.log.partitions(TOPICS.answers)}
    for part in parts:
        world.ledger.forget_before(part, watermark, WINDOW_MS, [MODEL])
    world.ahead_s = 1_000.0
    process.credit()
    assert world.hits()["s1"].answers == 3


def test_a_new_rollout_counts_from_its_start(world):
    world.roll()
    world.answer("u", "ab")
    world.drain()
    world.roll("r2", epoch=2, renewed=time.time() + 1)
    world.ahead_s = WINDOW_MS / 1e3 + 60
    world.drain().credit()
    assert world.hits("r2") == {}
    assert world.hits("r1") == {}


def test_while_one_topic_lags_nothing_is_judged(world):
    world.roll()
    process = world.process()
    world.answer("u", "ab")
    world.ahead_s = WINDOW_MS / 1e3 + 60
    process.credit()
    assert world.hits() == {}
    world.click("u", "a")
    world.drain(process)
    world.ahead_s *= 2
    process.credit()
    assert world.hits()["s1"].hits == 1


class BehindTransactions:
    """A log whose transactions leave a mark behind the last record of each partition, which is never read."""

    def __init__(self, log):
        self._log = log

    def __getattr__(self, name):
        return getattr(self._log, name)

    def end_offsets(self, topic):
        return {each: end + bool(end) for each, end in self._log.end_offsets(topic).items()}


def test_where_nothing_is_to_be_read_before_the_end_nobody_waits_for_more(world):
    world.roll()
    world.answer("u", "ab")
    world.click("u", "a")
    process = world.process(log=BehindTransactions(world.log))
    world.drain(process)
    world.ahead_s = WINDOW_MS / 1e3 + 60
    for _ in range(2):
        process.credit()
    assert world.hits()["s1"].hits == 1
    lags = {(each, number): 0.0 for each in TOPICS[:4] for number in "01"}
    assert lags == {
        place: REGISTRY.get_sample_value(metrics.LAG, {"topic": place[0], "partition": place[1]})
        for place in lags
    }


def test_what_lies_unread_is_no_end_however_long_it_lies(world):
    world.roll()
    world.answer("u", "ab")
    process = world.drain(world.process(log=BehindTransactions(world.log)))
    world.click("u", "a")
    world.ahead_s = WINDOW_MS / 1e3 + 60
    for _ in range(3):
        process.credit()
    assert world.hits() == {}


def test_an_answer_that_was_appended_again_counts_once(world):
    world.roll()
    for request_id in ("r1", "r1", "r2", "r1"):
        world.answer("u", "ab", request_id=request_id)
    process = world.drain()
    world.answer("u", "ab", request_id="r2")
    world.click("u", "a", request_id="r1")
    world.drain(process)
    world.ahead_s = WINDOW_MS / 1e3 + 60
    process.credit()
    assert (world.hits()["s1"].answers, world.hits()["s1"].hits) == (2, 1)


def test_old_answers_and_clicks_are_forgotten(world):
    world.roll()
    world.answer("u", "ab")
    world.click("u", "a")
    process = world.drain()
    world.ahead_s = 3 * WINDOW_MS / 1e3 + 60
    process.credit()
    connection = world.ledger.database.connection
    assert [
        connection.execute(f"SELECT count(*) FROM {table}").fetchone() for table in ("given", "clicks")
    ] == [
        (0,),
        (0,),
    ]


def test_positions_are_committed_with_the_dead_letters(world):
    world.click("u", "a")
    world.send(TOPICS.interactions, "u", b"nonsense")
    world.drain()
    committed = world.log.committed(profiles_group("shop"))
    assert sum(committed[Partition(TOPICS.interactions, part)] for part in (0, 1)) == 2
    assert sum(committed[Partition(TOPICS.dead_letters, part)] for part in (0, 1)) == 1


def test_a_topic_created_anew_while_nobody_read_it_is_not_read(world):
    """Its positions went with it; those of the others of its number are still there."""
    group = profiles_group("shop")
    kept = [
        Partition(topic, part) for topic in (TOPICS.answers, TOPICS.items, TOPICS.users) for part in (0, 1)
    ]
    world.log.commit(group, dict.fromkeys(kept, 3))
    world.click("u", "a")
    with pytest.raises(StorageUnavailable, match="created anew"):
        world.drain()
    assert world.profiles.get("u") is None
    world.log.commit(group, {Partition(TOPICS.interactions, part): 0 for part in (0, 1)})
    world.log.commit(group, dict.fromkeys(kept, 0))
    world.drain()
    assert recent(world, "u") == ["a"]
