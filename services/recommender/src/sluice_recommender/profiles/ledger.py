"""What attribution knows of the log, on SQLite: open answers, recent clicks, forgets, by partition.

A view of the log and nothing else: of each partition of answers and of interactions it holds what lies between two
positions, and whatever it lacks is read again. Everything of a batch and the positions behind it are one
transaction, so a restart goes on exactly where it stopped, and a batch that is handed over again changes nothing.
Answers of users who are forgotten stay without user and items, for how far judging has come must not depend on
whether a forget was read before or after. So do repeats, see :mod:`sluice_recommender.profiles.repeated_answers`.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Final, NamedTuple

import msgspec

from sluice.embedded.database import Database
from sluice.events import Partition
from sluice.topics import Topics
from sluice_recommender.profiles.attribution import (
    Click,
    Given,
    keep_answers_from,
    keep_clicks_from,
    keep_forgets_from,
)
from sluice_recommender.profiles.batch import Forgotten
from sluice_recommender.profiles.repeated_answers import forget_ids_before, repeats_among

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS taken (
    topic TEXT, part INTEGER, start INTEGER NOT NULL, next INTEGER NOT NULL, known_from INTEGER NOT NULL,
    PRIMARY KEY (topic, part));
CREATE TABLE IF NOT EXISTS given (
    part INTEGER, offset INTEGER, logged INTEGER, at INTEGER, request_id TEXT, user_id TEXT, model TEXT,
    snapshot TEXT, items BLOB, experiment TEXT, PRIMARY KEY (part, offset)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS given_by_user ON given (user_id, model);
CREATE TABLE IF NOT EXISTS given_ids (
    part INTEGER, id INTEGER, logged INTEGER NOT NULL, PRIMARY KEY (part, id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS given_ids_by_time ON given_ids (part, logged);
CREATE TABLE IF NOT EXISTS clicks (
    part INTEGER, offset INTEGER, at INTEGER, user_id TEXT, item_id TEXT, request_id TEXT,
    PRIMARY KEY (part, offset)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS clicks_by_user ON clicks (user_id);
CREATE TABLE IF NOT EXISTS forgets (
    user_id TEXT, part INTEGER, at INTEGER, PRIMARY KEY (user_id, part)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS last_forgets (part INTEGER PRIMARY KEY, next INTEGER NOT NULL, at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS rollouts (model TEXT PRIMARY KEY, rollout TEXT NOT NULL, since INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS judged (model TEXT, part INTEGER, next INTEGER NOT NULL, PRIMARY KEY (model, part));
CREATE TABLE IF NOT EXISTS judged_logged (
    model TEXT, part INTEGER, logged INTEGER NOT NULL, PRIMARY KEY (model, part));
CREATE TABLE IF NOT EXISTS tallied (
    model TEXT, part INTEGER, snapshot TEXT, user_id TEXT, answers INTEGER, hits INTEGER,
    PRIMARY KEY (model, part, snapshot, user_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tallied_by_user ON tallied (user_id);
"""
_BY_PART: Final = (
    "taken",
    "given",
    "given_ids",
    "clicks",
    "forgets",
    "last_forgets",
    "judged",
    "judged_logged",
    "tallied",
)
_INSERT_ANSWER: Final = """
INSERT INTO given VALUES (
    :part, :offset, :logged, :at, :request_id, :user_id, :model, :snapshot, :items, :experiment)
"""
_BLANK: Final = "UPDATE given SET request_id = '', user_id = '', snapshot = '', items = x'90' WHERE part = ?"
_WAS_FORGOTTEN: Final = """
 AND offset >= ? AND EXISTS (
    SELECT 1 FROM forgets
    WHERE forgets.user_id = given.user_id AND forgets.part = given.part AND forgets.at >= given.at)
"""
_DELETE_ANSWERS: Final = """
DELETE FROM given WHERE part = ? AND logged < ? AND NOT EXISTS (
    SELECT 1 FROM json_each(?) AS judging WHERE judging.value IN (model, experiment) AND offset >= coalesce(
        (SELECT next FROM judged WHERE judged.model = judging.value AND judged.part = given.part), 0))
"""


class Span(NamedTuple):
    """Offsets of a partition from ``start`` up to, not with, ``end``."""

    start: int
    end: int


class Ledger:
    """Attribution of one source. Partition ``p`` of answers and of interactions hold the same users."""

    def __init__(self, path: Path, topics: Topics) -> None:
        self.database, self._topics = Database(path, _SCHEMA), topics

    def partitions(self, number: int) -> tuple[Partition, Partition]:
        """Return the two partitions of one number that it is a view of."""
        return Partition(self._topics.interactions, number), Partition(self._topics.answers, number)

    def taken(self, number: int) -> dict[Partition, Span]:
        """Return what it has taken in; nothing of a number that must be begun first."""
        rows = self.database.read("SELECT topic, part, start, next FROM taken WHERE part = ?", (number,))
        return {Partition(topic, part): Span(start, end) for topic, part, start, end in rows}

    def numbers(self) -> set[int]:
        """Return the partition numbers of which anything is held."""
        rows = self.database.read(
            "SELECT part FROM taken UNION SELECT part FROM judged UNION SELECT part FROM last_forgets"
        )
        return {part for (part,) in rows}

    def restart(self, number: int, positions: Mapping[Partition, int], known_from: int = 0) -> None:
        """Forget a partition number and begin anew at ``positions``, which hold all from a log time on."""
        with self.database.writing() as connection:
            for table in _BY_PART:
                connection.execute(f"DELETE FROM {table} WHERE part = ?", (number,))  # noqa: S608 (own names)
            connection.executemany(
                "INSERT INTO taken VALUES (?, ?, ?, ?, ?)",
                [(*each, position, position, known_from) for each, position in positions.items()],
            )

    def record(
        self,
        answers: Mapping[int, Sequence[Given]],
        clicks: Mapping[int, Sequence[Click | Forgotten]],
        spans: Mapping[Partition, Span],
    ) -> set[int]:
        """Take in what lies in ``spans``, by partition number, as far as it was not taken in before.

        Returns the numbers of partitions of which something before the span is missing: nothing was taken of it.
        """
        missing = set()
        with self.database.writing() as connection:
            for partition, span in spans.items():
                start = _next(connection, partition)
                if start is None or start < span.start:
                    missing.add(partition.number)
                    continue
                if partition.topic == self._topics.answers:
                    _take_answers(connection, partition.number, answers.get(partition.number, ()), start)
                else:
                    _take_clicks(connection, partition.number, clicks.get(partition.number, ()), start)
                if span.end > start:
                    connection.execute(
                        "UPDATE taken SET next = ? WHERE topic = ? AND part = ?", (span.end, *partition)
                    )
        return missing

    def forget_before(self, part: int, watermark: int, window_ms: int, judging: Sequence[str]) -> None:
        """Delete what bears on nothing any more; ``window_ms`` is the longest of the source's models.

        Answers of the models ``judging`` stay until they are judged.
        """
        with self.database.writing() as connection:
            connection.execute(
                _DELETE_ANSWERS,
                (part, keep_answers_from(watermark, window_ms), msgspec.json.encode(judging).decode()),
            )
            forget_ids_before(connection, part, watermark)
            connection.execute(
                "DELETE FROM clicks WHERE part = ? AND at < ?", (part, keep_clicks_from(watermark, window_ms))
            )
            connection.execute(
                "DELETE FROM forgets WHERE part = ? AND at < ?", (part, keep_forgets_from(watermark))
            )


def _next(connection: Connection, partition: Partition) -> int | None:
    row = connection.execute("SELECT next FROM taken WHERE topic = ? AND part = ?", partition).fetchone()
    return None if row is None else int(row[0])


def _take_answers(connection: Connection, part: int, given: Sequence[Given], start: int) -> None:
    new = [each for each in given if each.offset >= start]
    if new:
        repeats = repeats_among(connection, part, new)
        connection.executemany(_INSERT_ANSWER, [_row(part, each) for each in new])
        connection.executemany(f"{_BLANK} AND offset = ?", [(part, offset) for offset in repeats])
        connection.execute(_BLANK + _WAS_FORGOTTEN, (part, start))


def _row(part: int, answer: Given) -> dict[str, Any]:
    return {**answer._asdict(), "part": part, "items": msgspec.msgpack.encode(answer.items)}


def _take_clicks(connection: Connection, part: int, made: Sequence[Click | Forgotten], start: int) -> None:
    for voids, run in groupby((each for each in made if each.offset >= start), _voids):
        (_forget if voids else _keep)(connection, part, list(run))


def _voids(click: Click | Forgotten) -> bool:
    return isinstance(click, Forgotten)


def _keep(connection: Connection, part: int, clicks: Sequence[Click | Forgotten]) -> None:
    connection.executemany("INSERT INTO clicks VALUES (?, ?, ?, ?, ?, ?)", [(part, *each) for each in clicks])


def _forget(connection: Connection, part: int, users: Sequence[Click | Forgotten]) -> None:
    """Void what came before: clicks read so far, and answers given so far, whether or not they are read yet."""
    for each in users:
        user = (part, each.user_id)
        connection.execute("DELETE FROM clicks WHERE part = ? AND user_id = ?", user)
        connection.execute("DELETE FROM tallied WHERE part = ? AND user_id = ?", user)
        connection.execute(f"{_BLANK} AND user_id = ? AND at <= ?", (*user, each.at))
        connection.execute(
            "INSERT INTO forgets VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET at = max(at, excluded.at)",
            (each.user_id, part, each.at),
        )
        connection.execute(
            "INSERT INTO last_forgets VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET next = excluded.next, at = max(at, excluded.at)",
            (part, each.offset + 1, each.at),
        )
