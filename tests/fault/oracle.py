"""What the log says the stores must hold: one plain pass over all records, nothing incremental, no positions.

Shares with the product the decoders of records and the rule which clicks credit which answers; both are pure
and have tests of their own. Everything that can go wrong in a crash is done here in another way.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from contextlib import closing
from sqlite3 import connect
from typing import Any, NamedTuple

from sluice.embedded.home import Home
from sluice.embedded.sources import EmbeddedProfiles
from sluice.encoder import RECENT_LIMIT
from sluice.errors import InvalidRecord
from sluice.events import EventLog, StoredRecord
from sluice.items import HALF_LIFE_S, LANDMARK_S
from sluice.profile import SEEN_LIMIT, Profiles
from sluice.records import Forget, decode_answer, decode_interaction, decode_item, decode_user
from sluice.topics import topics_of
from sluice_recommender.profiles.attribution import ANSWERS_CAP, SLACK_MS, Click, Given, credits_of

SOURCE = "shop"
TOPICS = topics_of(SOURCE)
WINDOW = 100_000
Origin = tuple[str, int, int]


class User(NamedTuple):
    """A user as the profile shows them: recent (newest first), seen (oldest first), features."""

    recent: tuple[tuple[str, str, float, int], ...] = ()
    seen: tuple[str, ...] = ()
    features: tuple[str, ...] = ()


class Truth:
    """What follows from the records of one source."""

    def __init__(self, log: EventLog, weights: Mapping[str, float], source: str = SOURCE) -> None:
        self._weights, self.topics = weights, topics_of(source)
        self.users: dict[str, User] = defaultdict(User)
        self.items: dict[str, bytes] = {}
        self.letters: set[Origin] = set()
        self.occurrences: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self.interactions = self.repeated = self.forgets = 0
        self._gains: dict[str, list[float]] = defaultdict(list)
        self._last: dict[tuple[int, str], int] = {}
        self._clicks: dict[str, list[Click]] = defaultdict(list)
        self._answers: dict[tuple[str, int], list[Given]] = defaultdict(list)
        self._forgotten: dict[str, int] = {}
        readers = {
            self.topics.interactions: self._interaction,
            self.topics.answers: self._answer,
            self.topics.items: self._item,
            self.topics.users: self._user,
        }
        for topic, reader in readers.items():
            for record in records(log, topic):
                try:
                    reader(record)
                except InvalidRecord:
                    self.letters.add((topic, record.partition.number, record.offset))

    @property
    def popularity(self) -> dict[str, float]:
        """The counts, added up without rounding in between."""
        return {item: math.fsum(gains) for item, gains in self._gains.items()}

    def _interaction(self, record: StoredRecord) -> None:
        event = decode_interaction(record.value or b"{}")
        user = self.users[event.user_id]
        if isinstance(event, Forget):
            self.forgets += 1
            self.users[event.user_id] = User(features=user.features)
            self._clicks[event.user_id].clear()
            self._forgotten[event.user_id] = record.timestamp
            return
        part, offset = record.partition.number, record.offset
        if event.event_id:
            self.occurrences[event.event_id].append((part, offset))
            before = self._last.get((part, event.event_id))
            self._last[part, event.event_id] = offset
            if before is not None and offset - before <= WINDOW:
                self.repeated += 1
                return
        self.interactions += 1
        ts = record.timestamp if event.ts is None else event.ts
        recent = ((event.item_id, event.event, event.value, ts), *user.recent)[:RECENT_LIMIT]
        seen = (*(each for each in user.seen if each != event.item_id), event.item_id)[-SEEN_LIMIT:]
        self.users[event.user_id] = User(recent, seen, user.features)
        weight = self._weights.get(event.event, 1.0) * event.value
        self._gains[event.item_id].append(weight * 2 ** ((record.timestamp / 1e3 - LANDMARK_S) / HALF_LIFE_S))
        self._clicks[event.user_id].append(
            Click(offset, record.timestamp, event.user_id, event.item_id, event.request_id)
        )

    def _answer(self, record: StoredRecord) -> None:
        answer = decode_answer(record.value or b"")
        given = Given(
            offset=record.offset,
            logged=record.timestamp,
            at=min(max(answer.ts, record.timestamp - SLACK_MS), record.timestamp),
            request_id=answer.request_id,
            user_id=answer.user_id,
            model=answer.model,
            snapshot=answer.snapshot,
            items=answer.items,
        )
        self._answers[answer.user_id, record.partition.number].append(given)

    def _item(self, record: StoredRecord) -> None:
        key = record.key.decode()
        if record.value is None:
            self.items.pop(key, None)
        else:
            if decode_item(record.value).item_id != key:
                raise InvalidRecord("bad-key", "the key names another item")
            self.items[key] = record.value

    def _user(self, record: StoredRecord) -> None:
        key = record.key.decode()
        said = decode_user(record.value) if record.value is not None else None
        self.users[key] = self.users[key]._replace(features=said.features if said else ())

    def tallied(
        self, model: str, snapshots: set[str], since: int, window_ms: int
    ) -> dict[tuple[Any, ...], Any]:
        """Return (answers, hits) by (partition, snapshot, user), of answers given since ``since``."""
        counts: dict[tuple[Any, ...], tuple[int, int]] = {}
        for (user, part), given in self._answers.items():
            valid = [a for a in given if a.model == model and a.at > self._forgotten.get(user, -1)]
            credited = {offset for offset, _ in credits_of(valid, self._clicks[user], window_ms)}
            for answer in valid:
                answers, hits = counts.get((part, answer.snapshot, user), (0, 0))
                if answer.snapshot in snapshots and answer.at >= since and answers < ANSWERS_CAP:
                    hit = answer.offset in credited
                    counts[part, answer.snapshot, user] = (answers + 1, hits + hit)
        return counts


def records(log: EventLog, topic: str) -> Iterator[StoredRecord]:
    """Yield all records of a topic, partition after partition."""
    for partition, end in log.end_offsets(topic).items():
        position = 0
        while position < end:
            found = log.read({partition: position}, 10_000, 0.0)
            yield from found
            position = found[-1].offset + 1


def check_stores(home: Home, truth: Truth) -> None:
    """Assert that profiles, items, popularity and dead letters are what the log says, and nothing else."""
    check_profiles(home, truth)
    check_popularity(home, truth)
    check_letters(home.log(SOURCE), truth)
    with closing(connect(home.folder / f"source-{SOURCE}.db")) as database:
        assert {item for (item,) in database.execute("SELECT item_id FROM items")} == set(truth.items)


def check_profiles(home: Home, truth: Truth) -> None:
    """Assert that each user's profile is the fold of their records."""
    with closing(connect(home.folder / f"source-{SOURCE}.db")) as database:
        stored = {user for (user,) in database.execute("SELECT user_id FROM profiles")}
    check_users(EmbeddedProfiles(home.source(SOURCE)), truth, stored)


def check_users(profiles: Profiles, truth: Truth, stored: Set[str] = frozenset()) -> None:
    """Assert the same of any store, of the users in the log and of those known to be ``stored``."""
    found = {}
    for user in stored | truth.users.keys():
        profile = profiles.get(user)
        if profile is not None:
            recent = tuple((each.item_id, each.event, each.value, each.ts) for each in profile.recent)
            found[user] = User(recent, profile.seen, profile.features)
    expected = {user: each for user, each in truth.users.items() if each != User()}
    assert {user: each for user, each in found.items() if each != User()} == expected


def check_popularity(home: Home, truth: Truth) -> None:
    """Assert equal counts but for the rounding of n additions: relative 1e-9, far below one event in a million."""
    with closing(connect(home.folder / f"source-{SOURCE}.db")) as database:
        check_counts(dict(database.execute("SELECT item_id, count FROM popularity")), truth)


def check_counts(counts: Mapping[str, float], truth: Truth) -> None:
    """Assert the same of counts from any store."""
    expected = truth.popularity
    assert counts.keys() == expected.keys()
    wrong = {
        item: (count, expected[item])
        for item, count in counts.items()
        if not math.isclose(count, expected[item], rel_tol=1e-9)
    }
    assert not wrong


def letters(log: EventLog, topic: str = TOPICS.dead_letters) -> list[Origin]:
    """Return where the dead letters come from, one entry a letter."""
    found = []
    for letter in records(log, topic):
        headers = dict(letter.headers)
        found.append((headers["topic"].decode(), int(headers["partition"]), int(headers["offset"])))
    return found


def check_letters(log: EventLog, truth: Truth) -> None:
    """Assert one dead letter for each unreadable record and no other."""
    found = letters(log, truth.topics.dead_letters)
    assert len(found) == len(set(found)), "a dead letter was written twice"
    assert set(found) == truth.letters


def tallied(home: Home, model: str) -> dict[tuple[Any, ...], Any]:
    """Return (answers, hits) by (partition, snapshot, user) as attribution has them."""
    with closing(connect(home.folder / f"attribution-{SOURCE}.db")) as database:
        rows = database.execute(
            "SELECT part, snapshot, user_id, answers, hits FROM tallied WHERE model = ?", (model,)
        ).fetchall()
    return {tuple(row[:3]): tuple(row[3:]) for row in rows}


def all_judged(home: Home, model: str) -> bool:
    """Return whether attribution has judged every answer it holds (those voided it holds no more)."""
    with closing(connect(home.folder / f"attribution-{SOURCE}.db")) as database:
        (waiting,) = database.execute(
            "SELECT count(*) FROM given LEFT JOIN judged ON judged.model = ? AND judged.part = given.part"
            " WHERE given.offset >= coalesce(judged.next, 0)",
            (model,),
        ).fetchone()
    return int(waiting) == 0


def since(home: Home, model: str) -> int:
    """Return from when on attribution counts answers of the rollout in force."""
    with closing(connect(home.folder / f"attribution-{SOURCE}.db")) as database:
        (found,) = database.execute("SELECT since FROM rollouts WHERE model = ?", (model,)).fetchone()
    return int(found)
