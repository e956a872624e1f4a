"""Judges the answers that a ledger holds, and counts answers and hits per user of the rollout in force."""

from collections.abc import Sequence
from sqlite3 import Connection
from typing import Final

import msgspec

from sluice.embedded.database import Database
from sluice.evidence import Hits
from sluice_recommender.profiles.attribution import Click, Contest, Given, Tallied, credits_of, due_before

CHUNK: Final = 1_000
_NO_OFFSET: Final = 2**63 - 1
_ANSWER: Final = (
    "SELECT offset, logged, at, request_id, user_id, model, snapshot, items, experiment FROM given"
)
_ITEMS: Final = msgspec.msgpack.Decoder(tuple[str, ...])


class Judging:
    """What was counted, in the database of a ledger. What it says is a function of the log and of how far it came."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def since(self, model: str, rollout: str, now: int, told: int = 0, needed_from: int = 0) -> int:
        """Return from when on answers count for ``rollout``: when it began, as ``told``, else when it was first seen.

        A new one voids the counts of the last. Partitions judged beyond its beginning, or known from a time after
        ``needed_from`` only, are to be begun anew: the ledger knows nothing of them from then on.
        """
        known = self.known_since(model, rollout)
        if known is not None and told in (0, known):
            return known
        since = told or now
        with self._database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO rollouts VALUES (?, ?, ?)", (model, rollout, since))
            connection.execute("DELETE FROM tallied WHERE model = ?", (model,))
            if told:
                connection.execute(
                    "DELETE FROM taken WHERE known_from > ? OR part IN"
                    " (SELECT part FROM judged_logged WHERE model = ? AND logged >= ?)",
                    (needed_from, model, since),
                )
        return since

    def known_since(self, model: str, rollout: str | None = None) -> int | None:
        """Return from when on answers of ``rollout``, or of the last one, are counted; None if it was not seen yet."""
        row = self._database.read_one(
            "SELECT since FROM rollouts WHERE model = ? AND rollout = coalesce(?, rollout)", (model, rollout)
        )
        return None if row is None else int(row[0])

    def has_judged(self, model: str) -> bool:
        """Return whether a rollout of ``model`` was ever seen."""
        return self._database.read_one("SELECT 1 FROM rollouts WHERE model = ?", (model,)) is not None

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
            "SELECT offset FROM given WHERE part = ? AND offset >= ? AND logged BETWEEN ? AND ?"
            " ORDER BY offset LIMIT 1",
            (part, start, due, log_now),
        )
        last = self._database.read_one(
            "SELECT offset FROM given WHERE part = ? AND offset >= ? AND offset < ? AND logged < ?"
            " ORDER BY offset DESC LIMIT 1",
            (part, start, waiting[0] if waiting else _NO_OFFSET, due),
        )
        return last[0] + 1 if last else start

    def _judge_some(self, contest: Contest, part: int, end: int) -> int:
        with self._database.writing() as connection:
            rows = connection.execute(
                f"{_ANSWER} WHERE part = ? AND offset >= ? AND offset < ? ORDER BY offset LIMIT ?",
                (part, self.judged_to(contest.model, part), end, CHUNK),
            )
            answers = [_given(row) for row in rows]
            if answers:
                own = [each for each in answers if contest.concerns(each)]
                self._count(connection, contest, part, own)
                _note_judged(connection, contest.model, part, answers)
            return len(answers)

    def _count(self, connection: Connection, contest: Contest, part: int, answers: Sequence[Given]) -> None:
        credited: dict[str, set[int]] = {}
        for answer in answers:
            if not contest.counts(answer):
                continue
            user = answer.user_id
            if user not in credited:
                credited[user] = _hits_of(connection, contest, part, user)
            key = (contest.model, part, contest.arm(answer), user)
            row = connection.execute(
                "SELECT answers, hits FROM tallied WHERE model = ? AND part = ? AND snapshot = ? AND user_id = ?",
                key,
            ).fetchone()
            tallied = Tallied(*(row or ())).add(hit=answer.offset in credited[user])
            connection.execute("INSERT OR REPLACE INTO tallied VALUES (?, ?, ?, ?, ?, ?)", (*key, *tallied))

    def judged_to(self, model: str, part: int) -> int:
        """Return the end offset of the judged answers."""
        row = self._database.read_one("SELECT next FROM judged WHERE model = ? AND part = ?", (model, part))
        return 0 if row is None else int(row[0])

    def progress(self, contest: Contest, part: int) -> tuple[int, int]:
        """Return how far the statistics have come: end offset of the judged answers, and of the forgets since then.

        Both only grow within a rollout; who has come equally far counts the same, whichever way it came there.
        """
        row = self._database.read_one(
            "SELECT next FROM last_forgets WHERE part = ? AND at >= ?", (part, contest.since)
        )
        return self.judged_to(contest.model, part), 0 if row is None else int(row[0])

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


def _given(row: tuple[int, int, int, str, str, str, str, bytes, str]) -> Given:
    return Given(*row[:7], _ITEMS.decode(row[7]), row[8])


def _hits_of(connection: Connection, contest: Contest, part: int, user_id: str) -> set[int]:
    own = "experiment" if contest.experiment else "model"
    answers = connection.execute(
        f"{_ANSWER} WHERE part = ? AND user_id = ? AND {own} = ?", (part, user_id, contest.model)
    )
    clicks = connection.execute(
        "SELECT offset, at, user_id, item_id, request_id FROM clicks WHERE part = ? AND user_id = ?",
        (part, user_id),
    )
    credited = credits_of(
        [_given(row) for row in answers], [Click(*row) for row in clicks], contest.window_ms
    )
    return {offset for offset, _ in credited}


def _note_judged(connection: Connection, model: str, part: int, answers: Sequence[Given]) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO judged VALUES (?, ?, ?)", (model, part, answers[-1].offset + 1)
    )
    connection.execute(
        "INSERT INTO judged_logged VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET logged = max(logged, excluded.logged)",
        (model, part, max(each.logged for each in answers)),
    )
