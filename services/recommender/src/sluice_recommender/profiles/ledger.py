"""The state of attribution on SQLite: open answers, recent clicks, counts per user, positions.

Everything of a batch and the positions behind it are one transaction, so a restart goes on exactly where
it stopped, and a batch that is read again changes nothing.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Final

import msgspec

from sluice.embedded.database import Database
from sluice.evidence import Hits
from sluice.topics import Topics
from sluice_recommender.profiles.attribution import (
    Click,
    Contest,
    Given,
    Tallied,
    credits_of,
    due_before,
    keep_answers_from,
    keep_clicks_from,
    keep_forgets_from,
)
from sluice_recommender.profiles.batch import Forgotten

CHUNK: Final = 1_000
_NO_OFFSET: Final = 2**63 - 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS positions (topic TEXT, part INTEGER, next INTEGER NOT NULL, PRIMARY KEY (topic, part));
CREATE TABLE IF NOT EXISTS answers (
    part INTEGER, offset INTEGER, logged INTEGER, at INTEGER, request_id TEXT, user_id TEXT, model TEXT,
    snapshot TEXT, items BLOB, PRIMARY KEY (part, offset)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_by_user ON answers (user_id, model);
CREATE TABLE IF NOT EXISTS clicks (
    part INTEGER, offset INTEGER, at INTEGER, user_id TEXT, item_id TEXT, request_id TEXT,
    PRIMARY KEY (part, offset)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS clicks_by_user ON clicks (user_id);
CREATE TABLE IF NOT EXISTS forgets (
    user_id TEXT, part INTEGER, at INTEGER, PRIMARY KEY (user_id, part)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rollouts (model TEXT PRIMARY KEY, rollout TEXT NOT NULL, since INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS judged (model TEXT, part INTEGER, next INTEGER NOT NULL, PRIMARY KEY (model, part));
CREATE TABLE IF NOT EXISTS tallied (
    model TEXT, part INTEGER, snapshot TEXT, user_id TEXT, answers INTEGER, hits INTEGER,
    PRIMARY KEY (model, part, snapshot, user_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS voided (model TEXT, part INTEGER, times INTEGER NOT NULL, PRIMARY KEY (model, part));
"""
_INSERT_ANSWER: Final = """
INSERT INTO answers SELECT :part, :offset, :logged, :at, :request_id, :user_id, :model, :snapshot, :items
WHERE NOT EXISTS (SELECT 1 FROM forgets WHERE user_id = :user_id AND at >= :at)
"""
_DELETE_ANSWERS: Final = """
DELETE FROM answers WHERE part = ? AND logged < ? AND (
    model NOT IN (SELECT value FROM json_each(?))
    OR offset < (SELECT next FROM judged WHERE judged.model = answers.model AND judged.part = answers.part))
"""
_VOID: Final = """
INSERT INTO voided SELECT DISTINCT model, part, 1 FROM tallied WHERE user_id = ?
ON CONFLICT DO UPDATE SET times = times + 1
"""
_ITEMS: Final = msgspec.msgpack.Decoder(tuple[str, ...])


class Ledger:
    """Attribution of one source. Partition ``p`` of answers and of interactions hold the same users."""

    def __init__(self, path: Path, topics: Topics) -> None:
        self._database, self._topics = Database(path, _SCHEMA), topics

    def record(
        self, answers: Mapping[int, Sequence[Given]], clicks: Mapping[int, Sequence[Click | Forgotten]]
    ) -> None:
        """Take a batch's answers and clicks in, by partition number, those not taken in before."""
        with self._database.writing() as connection:
            for part, made in clicks.items():
                start = _move(connection, self._topics.interactions, part, made[-1].offset + 1)
                for voids, run in groupby((each for each in made if each.offset >= start), _voids):
                    (_forget if voids else _keep)(connection, part, list(run))
            for part, given in answers.items():
                start = _move(connection, self._topics.answers, part, given[-1].offset + 1)
                rows = [_row(part, each) for each in given if each.offset >= start]
                connection.executemany(_INSERT_ANSWER, rows)

    def since(self, model: str, rollout: str, now: int) -> int:
        """Return when ``rollout`` was first seen; a new one starts now and voids the counts of the last."""
        row = self._database.read_one(
            "SELECT since FROM rollouts WHERE model = ? AND rollout = ?", (model, rollout)
        )
        if row is not None:
            return int(row[0])
        with self._database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO rollouts VALUES (?, ?, ?)", (model, rollout, now))
            connection.execute("DELETE FROM tallied WHERE model = ?", (model,))
            connection.execute("DELETE FROM voided WHERE model = ?", (model,))
        return now

    def judge(self, contest: Contest, part: int, watermark: int, log_now: int) -> None:
        """Judge, in offset order, every answer whose window the watermark has passed.

        The clock of whoever stamped an answer later than ``log_now`` is ahead: it tells nothing, so the answer
        is due when one behind it is.
        """
        end = self._due_to(contest, part, due_before(watermark, contest.window_ms), log_now)
        while self._judge_some(contest, part, end) == CHUNK:
            pass

    def _due_to(self, contest: Contest, part: int, due: int, log_now: int) -> int:
        """Return the end offset of the answers that are due: behind the last one before the first that is not."""
        start = self.judged_to(contest.model, part)
        waiting = self._database.read_one(
            "SELECT offset FROM answers WHERE part = ? AND offset >= ? AND logged BETWEEN ? AND ?"
            " ORDER BY offset LIMIT 1",
            (part, start, due, log_now),
        )
        last = self._database.read_one(
            "SELECT offset FROM answers WHERE part = ? AND offset >= ? AND offset < ? AND logged < ?"
            " ORDER BY offset DESC LIMIT 1",
            (part, start, waiting[0] if waiting else _NO_OFFSET, due),
        )
        return last[0] + 1 if last else start

    def _judge_some(self, contest: Contest, part: int, end: int) -> int:
        with self._database.writing() as connection:
            rows = connection.execute(
                "SELECT offset, logged, at, request_id, user_id, model, snapshot, items FROM answers"
                " WHERE part = ? AND offset >= ? AND offset < ? ORDER BY offset LIMIT ?",
                (part, self.judged_to(contest.model, part), end, CHUNK),
            )
            answers = [_given(row) for row in rows]
            if answers:
                self._count(
                    connection, contest, part, [each for each in answers if each.model == contest.model]
                )
                connection.execute(
                    "INSERT OR REPLACE INTO judged VALUES (?, ?, ?)",
                    (contest.model, part, answers[-1].offset + 1),
                )
            return len(answers)

    def _count(self, connection: Connection, contest: Contest, part: int, answers: Sequence[Given]) -> None:
        credited: dict[str, set[int]] = {}
        for answer in answers:
            if not contest.counts(answer):
                continue
            user = answer.user_id
            if user not in credited:
                credited[user] = self._hits_of(connection, contest, user)
            key = (contest.model, part, answer.snapshot, user)
            row = connection.execute(
                "SELECT answers, hits FROM tallied WHERE model = ? AND part = ? AND snapshot = ? AND user_id = ?",
                key,
            ).fetchone()
            tallied = Tallied(*(row or ())).add(hit=answer.offset in credited[user])
            connection.execute("INSERT OR REPLACE INTO tallied VALUES (?, ?, ?, ?, ?, ?)", (*key, *tallied))

    def _hits_of(self, connection: Connection, contest: Contest, user_id: str) -> set[int]:
        answers = connection.execute(
            "SELECT offset, logged, at, request_id, user_id, model, snapshot, items FROM answers"
            " WHERE user_id = ? AND model = ?",
            (user_id, contest.model),
        )
        clicks = connection.execute(
            "SELECT offset, at, user_id, item_id, request_id FROM clicks WHERE user_id = ?", (user_id,)
        )
        credited = credits_of(
            [_given(row) for row in answers], [Click(*row) for row in clicks], contest.window_ms
        )
        return {offset for offset, _ in credited}

    def forget_before(self, part: int, watermark: int, window_ms: int, judging: Sequence[str]) -> None:
        """Delete what bears on nothing any more; ``window_ms`` is the longest of the source's models.

        Answers of the models ``judging`` stay until they are judged.
        """
        with self._database.writing() as connection:
            connection.execute(
                _DELETE_ANSWERS,
                (part, keep_answers_from(watermark, window_ms), msgspec.json.encode(judging).decode()),
            )
            connection.execute(
                "DELETE FROM clicks WHERE part = ? AND at < ?", (part, keep_clicks_from(watermark, window_ms))
            )
            connection.execute(
                "DELETE FROM forgets WHERE part = ? AND at < ?", (part, keep_forgets_from(watermark))
            )

    def judged_to(self, model: str, part: int) -> int:
        """Return the end offset of the judged answers."""
        row = self._database.read_one("SELECT next FROM judged WHERE model = ? AND part = ?", (model, part))
        return 0 if row is None else int(row[0])

    def progress(self, model: str, part: int) -> tuple[int, int]:
        """Return how far the statistics have come: end offset of the judged answers, how often a forget voided some.

        Both only grow within a rollout, and statistics that differ differ in one of them.
        """
        row = self._database.read_one("SELECT times FROM voided WHERE model = ? AND part = ?", (model, part))
        return self.judged_to(model, part), 0 if row is None else int(row[0])

    def hits(self, model: str, part: int) -> dict[str, Hits]:
        """Return the cumulative statistics of the rollout in force, by snapshot."""
        rows = self._database.read(
            "SELECT snapshot, count(*), sum(answers), sum(hits), sum(answers * answers), sum(hits * hits),"
            " sum(answers * hits) FROM tallied WHERE model = ? AND part = ? GROUP BY snapshot",
            (model, part),
        )
        return {
            snapshot: Hits(
                users=users,
                answers=answers,
                hits=hits,
                answers_squared=float(nn),
                hits_squared=float(hh),
                answers_hits=float(nh),
            )
            for snapshot, users, answers, hits, nn, hh, nh in rows
        }


def _given(row: tuple[int, int, int, str, str, str, str, bytes]) -> Given:
    return Given(*row[:-1], _ITEMS.decode(row[-1]))


def _move(connection: Connection, topic: str, part: int, end: int) -> int:
    """Move the position of a topic's partition up to ``end``; return where it was."""
    row = connection.execute(
        "SELECT next FROM positions WHERE topic = ? AND part = ?", (topic, part)
    ).fetchone()
    start = int(row[0]) if row else 0
    connection.execute("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", (topic, part, max(start, end)))
    return start


def _voids(click: Click | Forgotten) -> bool:
    return isinstance(click, Forgotten)


def _keep(connection: Connection, part: int, clicks: Sequence[Click | Forgotten]) -> None:
    connection.executemany("INSERT INTO clicks VALUES (?, ?, ?, ?, ?, ?)", [(part, *each) for each in clicks])


def _row(part: int, answer: Given) -> dict[str, Any]:
    return {**answer._asdict(), "part": part, "items": msgspec.msgpack.encode(answer.items)}


def _forget(connection: Connection, part: int, users: Sequence[Click | Forgotten]) -> None:
    """Void what came before: clicks read so far, and answers given so far, whether or not they are read yet."""
    for each in users:
        user = (each.user_id,)
        connection.execute("DELETE FROM clicks WHERE user_id = ?", user)
        connection.execute(_VOID, user)
        connection.execute("DELETE FROM tallied WHERE user_id = ?", user)
        connection.execute("DELETE FROM answers WHERE user_id = ? AND at <= ?", (each.user_id, each.at))
        connection.execute(
            "INSERT INTO forgets VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET at = max(at, excluded.at)",
            (each.user_id, part, each.at),
        )
