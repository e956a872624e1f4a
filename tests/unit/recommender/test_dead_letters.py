"""The malformed corpus: each kind of record that cannot be read becomes one dead letter, and disturbs nothing else."""

import random
from pathlib import Path

import pytest

from sluice.embedded.home import Home
from sluice.embedded.log import EmbeddedLog
from sluice.embedded.models import EmbeddedEvidence, EmbeddedRouting
from sluice.embedded.sources import EmbeddedItems, EmbeddedPopularity, EmbeddedProfiles
from sluice.errors import SluiceError, StorageUnavailable
from sluice.events import NewRecord, Partition, StoredRecord
from sluice.topics import profiles_group, topics_of
from sluice_recommender.profiles.batch import Rejected
from sluice_recommender.profiles.credit import Credit, CreditedModel
from sluice_recommender.profiles.dead_letters import DeadLetters
from sluice_recommender.profiles.ledger import Ledger
from sluice_recommender.profiles.process import ProfilesProcess, Stores

TOPICS = topics_of("shop")
DEEP = b'{"a":' * 20 + b"1" + b"}" * 20
ABYSS = b"[" * 100_000
LONG = b"x" * 257
ANSWER = b'{"request_id":"r","user_id":"u","model":"m","snapshot":"s","items":["a"],"ts":%s}'

INTERACTIONS = {
    "nothing at all": (None, "empty"),
    "no bytes": (b"", "bad-shape"),
    "blanks": (b" \t\n", "bad-shape"),
    "bytes that are no text": (b"\xff\xfe\x00", "bad-utf8"),
    "text cut within a letter": ("u:ü".encode()[:-1], "bad-utf8"),
    "UTF-16": ('{"user_id":"u","item_id":"a"}'.encode("utf-16"), "bad-utf8"),
    "text without a colon": (b"nonsense", "bad-shape"),
    "no user before the colon": (b":a", "bad-id"),
    "no item after the colon": (b"u:", "bad-id"),
    "a line break in an id": (b"u:a\nb", "bad-id"),
    "an id too long": (b"u:" + LONG, "bad-id"),
    "JSON cut short": (b'{"user_id":"u","item_id":', "bad-json"),
    "two documents": (b'{"user_id":"u","item_id":"a"}{}', "bad-json"),
    "a byte order mark": (b'\xef\xbb\xbf{"user_id":"u","item_id":"a"}', "bad-json"),
    "a list": (b'[{"user_id":"u","item_id":"a"}]', "bad-shape"),
    "an abyss": (ABYSS, "too-large"),
    "deep nesting": (b'{"user_id":"u","item_id":"a","more":' + DEEP + b"}", "too-deep"),
    "brackets by the thousand": (b'{"user_id":' + b"[" * 2_000 + b"]" * 2_000 + b"}", "bad-json"),
    "too large": (b'{"user_id":"u","item_id":"a","more":"' + b"x" * 65_536 + b'"}', "too-large"),
    "no user": (b'{"item_id":"a"}', "missing-field"),
    "no item": (b'{"user_id":"u"}', "missing-field"),
    "a number for a user": (b'{"user_id":7,"item_id":"a"}', "bad-field"),
    "null for a user": (b'{"user_id":null,"item_id":"a"}', "bad-field"),
    "an object for an item": (b'{"user_id":"u","item_id":{"$ne":1}}', "bad-field"),
    "an empty item": (b'{"user_id":"u","item_id":""}', "bad-id"),
    "a NUL in an id": (b'{"user_id":"u","item_id":"a\\u0000"}', "bad-id"),
    "half a surrogate": (b'{"user_id":"u","item_id":"\\ud800"}', "bad-json"),
    "NaN": (b'{"user_id":"u","item_id":"a","value":NaN}', "bad-json"),
    "a value without end": (b'{"user_id":"u","item_id":"a","value":1e999}', None),
    "a negative value": (b'{"user_id":"u","item_id":"a","value":-1}', "bad-field"),
    "no value": (b'{"user_id":"u","item_id":"a","value":0}', "bad-field"),
    "a value in words": (b'{"user_id":"u","item_id":"a","value":"1"}', "bad-field"),
    "a time before time": (b'{"user_id":"u","item_id":"a","ts":-1}', "bad-field"),
    "a time beyond counting": (b'{"user_id":"u","item_id":"a","ts":99999999999999999999999}', None),
    "half a millisecond": (b'{"user_id":"u","item_id":"a","ts":1.5}', "bad-field"),
    "an empty event id": (b'{"user_id":"u","item_id":"a","event_id":""}', "bad-id"),
    "a list for an event": (b'{"user_id":"u","item_id":"a","event":[]}', "bad-field"),
    "another control": (b'{"user_id":"u","control":"remember"}', "bad-control"),
    "control without a user": (b'{"control":"forget"}', "missing-field"),
    "control that is a number": (b'{"user_id":"u","control":1}', "bad-field"),
}
ITEMS = {
    "no item": (b'{"title":"A"}', "missing-field"),
    "text": (b"a", "bad-json"),
    "an id of another kind": (b'{"item_id":["a"]}', "bad-field"),
    "features in one word": (b'{"item_id":"a","features":"genre:Comedy"}', "bad-field"),
    "too many features": (b'{"item_id":"a","features":[' + b'"f",' * 256 + b'"f"]}', "bad-field"),
    "an empty feature": (b'{"item_id":"a","features":[""]}', "bad-id"),
    "available in words": (b'{"item_id":"a","available":"no"}', "bad-field"),
    "attributes in a list": (b'{"item_id":"a","attributes":[]}', "bad-field"),
    "attributes too deep": (b'{"item_id":"a","attributes":' + DEEP + b"}", "too-deep"),
}
USERS = {
    "a list": (b"[]", "bad-shape"),
    "no user": (b"{}", "missing-field"),
    "another user than the key's": (b'{"user_id":"somebody else"}', "bad-key"),
    "interests in words": (b'{"user_id":"u","interests":{"python":"much"}}', "bad-field"),
    "views without fields": (b'{"user_id":"u","views":{"course":3}}', "bad-field"),
    "a feature too long": (b'{"user_id":"u","features":["' + LONG + b'"]}', "bad-id"),
}
ANSWERS = {
    "nothing at all": (None, "empty"),
    "an empty object": (b"{}", "bad-field"),
    "text": (b"u:a", "bad-field"),
    "an abyss": (ABYSS, "bad-field"),
    "no user": (ANSWER.replace(b'"u"', b'""') % b"1", "bad-id"),
    "a time in words": (ANSWER % b'"now"', "bad-field"),
    "bytes that are no text": (ANSWER.replace(b'"a"', b'"\xff"') % b"1", "bad-field"),
    "half a surrogate": (ANSWER.replace(b'"a"', b'"\\ud800"') % b"1", "bad-field"),
    "items in one word": (ANSWER.replace(b'["a"]', b'"a"') % b"1", "bad-field"),
}
CORPUS = {
    (topic, name): record
    for topic, records in zip(TOPICS[:4], (INTERACTIONS, ANSWERS, ITEMS, USERS), strict=True)
    for name, record in records.items()
}
KEYLESS = [(TOPICS.items, b""), (TOPICS.users, b"\xff"), (TOPICS.users, LONG)]
"""Tombstones whose key is no id."""


class World:
    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)
        self.log, database, model = (
            self.home.log("shop"),
            self.home.source("shop"),
            self.home.model("default.m"),
        )
        self.profiles, self.items = EmbeddedProfiles(database), EmbeddedItems(database)
        self.popularity = EmbeddedPopularity(database)
        self.ledger = Ledger(folder / "attribution-shop.db", TOPICS)
        self.stores = Stores(self.profiles, self.popularity, self.items, self.ledger, database.writing)
        self.credited = CreditedModel("default.m", 1_000, EmbeddedRouting(model), EmbeddedEvidence(model))

    def process(self, log=None) -> ProfilesProcess:
        credit = Credit(self.ledger, [self.credited], TOPICS.answers)
        return ProfilesProcess(log or self.log, "shop", {}, self.stores, credit)

    def drain(self, process=None) -> None:
        process = process or self.process()
        while process.step(0.0):
            pass

    def send(self, topic, value, key=b"u"):
        self.log.append(topic, [NewRecord(key, value)])

    def letters(self):
        parts = dict.fromkeys(self.log.partitions(TOPICS.dead_letters), 0)
        found = []
        while new := self.log.read(parts, 100, 0.0):
            for letter in new:
                found.append((dict(letter.headers), letter.key, letter.value))
                parts[letter.partition] = letter.offset + 1
        return found


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_the_corpus_has_at_least_forty_kinds():
    assert len(CORPUS) >= 60
    assert {topic for topic, _ in CORPUS} == set(TOPICS[:4])


def test_each_kind_lands_once_with_its_origin_and_the_partition_moves_on(world):
    order = [*CORPUS]
    random.Random(3).shuffle(order)
    sent = {}
    for number, place in enumerate(order):
        value, _ = CORPUS[place]
        ends = world.log.end_offsets(place[0])
        world.send(place[0], value)
        [where] = [part for part, end in world.log.end_offsets(place[0]).items() if end != ends[part]]
        sent[place[0], where.number, ends[where]] = (value, CORPUS[place][1])
        world.send(TOPICS.interactions, b"u:good-%d" % number)
    for topic, key in KEYLESS:
        world.send(topic, None, key)
    world.drain()
    world.drain()  # another process finds nothing to do

    letters = world.letters()
    found = {
        (headers["topic"].decode(), int(headers["partition"]), int(headers["offset"])): (headers, value)
        for headers, _, value in letters
    }
    assert len(found) == len(letters) == len(sent) + len(KEYLESS)
    for origin, (value, reason) in sent.items():
        headers, kept = found[origin]
        assert kept == value, "as it came"
        assert reason is None or headers["reason"].decode() == reason, (
            origin,
            value[:80] if value else value,
        )
        assert headers["detail"]
    assert all(key in (b"u", b"", b"\xff", LONG) for _, key, _ in letters)

    profile = world.profiles.get("u")
    assert len(profile.seen) == len(CORPUS), "every good one in between counts"
    assert not profile.features
    assert {item for item, _ in world.popularity.top(999)} == set(profile.seen)
    assert world.items.get(["a", "u"]) == {}
    committed = world.log.committed(profiles_group("shop"))
    for topic in TOPICS[:4]:
        for part, end in world.log.end_offsets(topic).items():
            assert committed.get(part, 0) == end


def test_a_log_that_takes_the_letters_and_then_fails_gets_them_once(world):
    class Unsure:
        """Fails once after its effect, as a log does whose answer is lost."""

        failed = False

        def __getattr__(self, name):
            return getattr(world.log, name)

        def append(self, topic, records):
            world.log.append(topic, records)
            if not self.failed:
                self.failed = True
                raise StorageUnavailable("the log's answer was lost")

    world.send(TOPICS.interactions, b"nonsense")
    world.send(TOPICS.interactions, b"u:a")
    process = world.process(Unsure())
    with pytest.raises(StorageUnavailable):
        process.step(0.0)
    world.drain(process)
    assert len(world.letters()) == 1
    assert world.profiles.get("u").seen == ("a",)
    assert len(world.popularity.top(9)) == 1


def test_a_letter_of_someone_else_stops_nothing(world):
    world.log.append(TOPICS.dead_letters, [NewRecord(b"u", b"no headers")])
    world.send(TOPICS.interactions, b"nonsense")
    world.drain()
    assert len(world.letters()) == 2


def test_a_topic_that_does_not_take_a_letter_keeps_the_record_waiting(world):
    class Small:
        """Takes no record of this size, which is no matter of time."""

        takes = False

        def __getattr__(self, name):
            return getattr(world.log, name)

        def append(self, topic, records):
            if not self.takes:
                raise SluiceError("a record of 700 bytes is larger than Kafka takes (50)")
            world.log.append(topic, records)

    log = Small()
    world.send(TOPICS.interactions, b"nonsense")
    process = world.process(log)
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match=rf"{TOPICS.dead_letters} does not take a letter: .*700"):
            process.step(0.0)
    assert not any(world.log.committed(profiles_group("shop")).values()), "it is not skipped"
    log.takes = True
    world.drain(process)
    assert len(world.letters()) == 1


class Shared:
    """A source of two partitions whose letters share one, and members that have one each or both."""

    def __init__(self, folder: Path) -> None:
        self.log = EmbeddedLog(folder / "log.db")
        self.log.create_topics({"shop.interactions": 2, "shop.dlt": 1})
        self.committed: dict[Partition, int] = {}

    def member(self, *numbers: int) -> DeadLetters:
        made = DeadLetters(self.log, "shop.dlt")
        self.take_over(made, *numbers)
        return made

    def take_over(self, member: DeadLetters, *numbers: int) -> None:
        member.take_over(numbers, self.committed, 2)

    def write(self, member: DeadLetters, number: int, *, commits: bool, **positions: int) -> None:
        """Reject the first record of a partition; who does not commit is killed then."""
        origin = Partition("shop.interactions", number)
        record = StoredRecord(origin, 0, 0, b"k", b"nonsense", ())
        at = {Partition("shop.interactions", int(name[1:])): end for name, end in positions.items()}
        member.write([Rejected(record, "bad-shape", "nonsense")], at)
        if commits:
            self.commit(member, at)

    def commit(self, member: DeadLetters, at: dict[Partition, int]) -> None:
        self.committed |= at | member.ends
        member.committed(at)

    @property
    def letters(self) -> int:
        [end] = self.log.end_offsets("shop.dlt").values()
        return end


def test_where_letters_share_a_partition_one_taken_over_is_looked_up_by_the_next_as_well(tmp_path):
    world = Shared(tmp_path)
    one, other = world.member(0), world.member(1)
    world.write(other, 1, commits=False, p1=1)  # and dies
    world.write(one, 0, commits=True, p0=1)
    world.take_over(one, 1)
    world.commit(one, {Partition("shop.interactions", 0): 1})  # and dies before it reads the other's record
    third = world.member(0, 1)
    world.write(third, 1, commits=True, p0=1, p1=1)
    assert world.letters == 2
    assert world.committed[Partition("shop.dlt", 0)] == 2
