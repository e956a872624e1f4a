"""Evidence: sufficient statistics that processes write and gates read. Additive, so sums lose nothing.

Three kinds, one per writer: the trainer's :class:`Paired` (candidate, stable and popularity scored on the
same events), the recommenders' :class:`Requests`, the profiles process' :class:`Hits` (per user, because
one user's hits are not independent).
"""

import bisect
import math
from collections.abc import Iterable
from typing import Final, Protocol, TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)


class Paired(msgspec.Struct, frozen=True, kw_only=True):
    """Scores in [0, 1] of three contenders on the same ``n`` events: sums, squares and cross products."""

    n: int = 0
    candidate: float = 0.0
    stable: float = 0.0
    popular: float = 0.0
    candidate_squared: float = 0.0
    stable_squared: float = 0.0
    popular_squared: float = 0.0
    candidate_stable: float = 0.0
    candidate_popular: float = 0.0

    def __add__(self, other: "Paired") -> "Paired":
        return _sum(self, other)


LATENCY_BOUNDS_MS: Final = tuple(round(10 ** (power / 10), 3) for power in range(-10, 41))
"""Upper bounds of the latency buckets in milliseconds: 0.1 ms to 10 s in steps of 26 %; one more is open."""


class Requests(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that one snapshot should have answered; ``latency[i]`` counts those in bucket i."""

    n: int = 0
    errors: int = 0
    latency: tuple[int, ...] = (0,) * (len(LATENCY_BOUNDS_MS) + 1)

    def __add__(self, other: "Requests") -> "Requests":
        return Requests(
            n=self.n + other.n,
            errors=self.errors + other.errors,
            latency=tuple(a + b for a, b in zip(self.latency, other.latency, strict=True)),
        )

    def slower_than(self, milliseconds: float) -> int:
        """Return how many took longer than ``milliseconds``; the bucket that holds the bound counts as slower."""
        return sum(self.latency[bisect.bisect_right(LATENCY_BOUNDS_MS, milliseconds) :])


def latency_bucket(milliseconds: float) -> int:
    """Return the index of the bucket of one request."""
    return bisect.bisect_left(LATENCY_BOUNDS_MS, milliseconds)


class Hits(msgspec.Struct, frozen=True, kw_only=True):
    """Answers and credited answers, per user: user u has ``n_u`` answers of which ``h_u`` were hit."""

    users: int = 0
    answers: int = 0
    hits: int = 0
    answers_squared: float = 0.0
    hits_squared: float = 0.0
    answers_hits: float = 0.0

    def __add__(self, other: "Hits") -> "Hits":
        return _sum(self, other)

    @property
    def rate(self) -> float:
        """Return the share of answers that were hit; nan without answers."""
        return self.hits / self.answers if self.answers else math.nan

    @property
    def rate_variance(self) -> float:
        """Return the variance of ``rate`` with users as clusters (linearised ratio; Cochran 1977, sec. 6.3)."""
        if self.users < 2 or not self.answers:
            return math.inf
        rate = self.rate
        residuals = self.hits_squared - 2 * rate * self.answers_hits + rate**2 * self.answers_squared
        return max(residuals, 0.0) / self.answers**2 * self.users / (self.users - 1)


def _sum(left: S, right: S) -> S:
    fields = left.__struct_fields__
    return type(left)(**{name: getattr(left, name) + getattr(right, name) for name in fields})


class EvidenceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One insert. The key is (rollout, snapshot, writer, sequence): inserting a key again changes nothing.

    ``writer`` starts with the kind (``paired/``, ``requests/``, ``hits/``) and names the process; ``sequence``
    is its counter, or ``partition:offset range`` where the statistics come from log positions, so that a
    replay never counts twice. ``weight_epoch`` is that of the routing in force
    (:class:`~sluice.routing.Routing`), so that errors and latency count from the current weight's start.
    ``at`` is Unix seconds. Exactly one of the statistics is set, except for a heartbeat, which has none and
    only tells that the writer lives. Paired and requests are increments; hits are cumulative, because a
    user's square grows with each answer: of one writer's rows the one that has come furthest counts. How far
    is what its ``sequence`` ends with, ``:judged.voided``, two numbers that only grow; a clock may not say it.
    """

    rollout: str
    snapshot: str
    writer: str
    sequence: str
    at: float
    weight_epoch: int = 0
    paired: dict[str, Paired] = {}
    requests: Requests | None = None
    hits: Hits | None = None


class EvidenceTotals(msgspec.Struct, frozen=True, kw_only=True):
    """All evidence of one rollout, added up. ``paired`` is keyed by metric, the others by snapshot.

    ``requests`` counts the current weight only. ``*_at`` is what the row of that kind inserted last says of
    when it was written (Unix seconds), None if there is none. So a clock that was ahead is forgotten with the
    next row.
    """

    paired: dict[str, Paired] = {}
    requests: dict[str, Requests] = {}
    hits: dict[str, Hits] = {}
    paired_at: float | None = None
    requests_at: float | None = None
    hits_at: float | None = None


class RunningTotals:
    """The sums of one rollout's rows, kept up row by row. Each row is added once, in the order of insertion.

    The sums do not depend on that order; only ``*_at`` does. Bounded by the rollout's metrics, snapshots, writers
    of hits, and weights given, not by its rows.
    """

    def __init__(self) -> None:
        self._paired: dict[str, Paired] = {}
        self._requests: dict[tuple[int, str], Requests] = {}
        self._hits: dict[tuple[str, str], EvidenceRow] = {}
        self._written: dict[str, float] = {}

    def add(self, row: EvidenceRow) -> None:
        """Add one row."""
        kind = row.writer.partition("/")[0]
        self._written[kind] = row.at
        for metric, scores in row.paired.items():
            self._paired[metric] = self._paired.get(metric, Paired()) + scores
        if row.requests is not None:
            given = (row.weight_epoch, row.snapshot)
            self._requests[given] = self._requests.get(given, Requests()) + row.requests
        if row.hits is not None:
            place = (row.snapshot, row.writer)
            self._hits[place] = max(self._hits.get(place, row), row, key=_progress)

    def totals(self, weight_epoch: int) -> EvidenceTotals:
        """Return the sums; ``requests`` only of rows under ``weight_epoch``."""
        hits: dict[str, Hits] = {}
        for (snapshot, _), row in self._hits.items():
            hits[snapshot] = hits.get(snapshot, Hits()) + (row.hits or Hits())
        return EvidenceTotals(
            paired=dict(self._paired),
            requests={
                snapshot: counted
                for (given, snapshot), counted in self._requests.items()
                if given == weight_epoch
            },
            hits=hits,
            paired_at=self._written.get("paired"),
            requests_at=self._written.get("requests"),
            hits_at=self._written.get("hits"),
        )


def _progress(row: EvidenceRow) -> tuple[list[int], float]:
    """Return what orders a writer's cumulative rows: how far they have come, and of two alike when written."""
    numbers = row.sequence.rpartition(":")[2].split(".")
    return [int(number) for number in numbers if number.isdecimal()], row.at


def add_up(rows: Iterable[EvidenceRow], weight_epoch: int) -> EvidenceTotals:
    """Return the totals of one rollout's rows, in the order of insertion; ``requests`` only under ``weight_epoch``."""
    running = RunningTotals()
    for row in rows:
        running.add(row)
    return running.totals(weight_epoch)


class EvidenceStore(Protocol):
    """Port: an append-only ledger of evidence of one model."""

    def append(self, rows: list[EvidenceRow]) -> None:
        """Insert ``rows``; a key that exists already is left as it is."""

    def totals(self, rollout: str, weight_epoch: int) -> EvidenceTotals:
        """Add up a rollout's rows in the order of insertion; ``requests`` only those under ``weight_epoch``.

        A store keeps that order by a field that only grows; rows of two writers at once may come either way.
        """

    def purge(self, keep: set[str]) -> None:
        """Delete the rows of every rollout not in ``keep``."""
