"""Evidence: sufficient statistics that processes write and gates read. Additive, so sums lose nothing.

Three kinds, one per writer: the trainer's :class:`Paired` (candidate, stable and popularity scored on the
same events), the recommenders' :class:`Requests`, the profiles process' :class:`Hits` (per user, because
one user's hits are not independent).
"""

import bisect
import math
import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, Protocol, TypeVar

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
    """What a writer says at one time. ``writer`` starts with the kind (``paired/``, ``requests/``, ``hits/``).

    ``sequence`` says which part of the writer's work it is, so that a row handed over again never counts twice;
    see :func:`folded`. Of paired statistics it is the offsets of the events scored, ``0:100-200,1:50-80``
    (partition, first, behind the last), of requests the writer's own counter. ``weight_epoch`` is that of the
    routing in force (:class:`~sluice.routing.Routing`), so that errors and latency count from the current
    weight's start. ``at`` is Unix seconds. Exactly one of the statistics is set, except for a heartbeat, which
    has none and only tells that the writer lives.

    Paired and requests are increments, handed over in order. Hits are cumulative, because a user's square grows
    with each answer: of one writer's rows the one that has come furthest counts. How far is what its ``sequence``
    ends with, ``:judged.voided``, two numbers that only grow; a clock may not say it.
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

    @property
    def kind(self) -> str:
        """The kind of its writer."""
        return self.writer.partition("/")[0]

    @property
    def is_heartbeat(self) -> bool:
        """Whether it counts nothing."""
        return not self.paired and self.requests is None and self.hits is None


class EvidenceTotals(msgspec.Struct, frozen=True, kw_only=True):
    """All evidence of one rollout, added up. ``paired`` is keyed by metric, the others by snapshot.

    ``requests`` counts the current weight only. ``*_at`` is what the row of that kind taken in last says of
    when it was written (Unix seconds), None if there is none. So a clock that was ahead is forgotten with the
    next row.
    """

    paired: dict[str, Paired] = {}
    requests: dict[str, Requests] = {}
    hits: dict[str, Hits] = {}
    paired_at: float | None = None
    requests_at: float | None = None
    hits_at: float | None = None


class Place(NamedTuple):
    """Whose rows are added up together. ``weight_epoch`` is 0 for what counts over the whole rollout."""

    rollout: str
    snapshot: str
    writer: str
    weight_epoch: int


def place_of(row: EvidenceRow) -> Place:
    """Return where a row is added."""
    return Place(row.rollout, row.snapshot, row.writer, row.weight_epoch if row.requests is not None else 0)


class Tally(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The rows of one place, added up. It does not grow with their number.

    ``counted`` holds, per partition, the position behind the last one counted, ``reached`` how far the hits have
    come.
    """

    paired: dict[str, Paired] = {}
    requests: Requests | None = None
    hits: Hits | None = None
    counted: dict[str, int] = {}
    reached: tuple[list[int], float] | None = None


def folded(tally: Tally, row: EvidenceRow) -> Tally:
    """Return ``tally`` with a row of its place; the same object if the row adds nothing to it.

    An increment counts if all of it lies behind what is counted, in each of its partitions. So a replay changes
    nothing, and neither does a second trainer that cuts the same offsets into other plans: a row that overlaps
    what was counted is left out whole, for its sums cannot be divided.
    """
    if row.hits is not None:
        reached = _reached(row)
        further = tally.reached is None or reached > tally.reached
        return msgspec.structs.replace(tally, hits=row.hits, reached=reached) if further else tally
    spans = _spans(row.sequence)
    overlaps = any(start < tally.counted.get(part, 0) for part, (start, _) in spans.items())
    if row.is_heartbeat or overlaps or not spans:
        return tally
    return msgspec.structs.replace(
        tally,
        paired=tally.paired
        | {name: tally.paired.get(name, Paired()) + more for name, more in row.paired.items()},
        requests=_added(tally.requests, row.requests),
        counted=tally.counted | {part: end for part, (_, end) in spans.items()},
    )


_SPAN: Final = re.compile(r"(\d+):(\d+)-(\d+)")


def _spans(sequence: str) -> dict[str, tuple[int, int]]:
    """Return which positions an increment counts, by partition; of a plain number that one alone."""
    if sequence.isdecimal():
        return {"0": (int(sequence), int(sequence) + 1)}
    return {part: (int(start), int(end)) for part, start, end in _SPAN.findall(sequence)}


def _reached(row: EvidenceRow) -> tuple[list[int], float]:
    """Return what orders a writer's cumulative rows: how far they have come, and of two alike when written."""
    numbers = row.sequence.rpartition(":")[2].split(".")
    return [int(number) for number in numbers if number.isdecimal()], row.at


def _added(one: Requests | None, other: Requests | None) -> Requests | None:
    return one + other if one is not None and other is not None else one or other


def is_news(before: Tally, after: Tally, row: EvidenceRow) -> bool:
    """Return whether a row that made ``before`` into ``after`` tells that its kind of writer lives.

    Increments that were counted before do not: a replay is not of now.
    """
    return after is not before or row.is_heartbeat or row.hits is not None


def totals_of(
    tallies: Mapping[Place, Tally], written: Mapping[str, float], weight_epoch: int
) -> EvidenceTotals:
    """Return the totals of one rollout's tallies; ``written`` says by kind when the last news was written."""
    paired: dict[str, Paired] = {}
    requests: dict[str, Requests] = {}
    hits: dict[str, Hits] = {}
    for place, tally in tallies.items():
        for metric, scores in tally.paired.items():
            paired[metric] = paired.get(metric, Paired()) + scores
        if tally.requests is not None and place.weight_epoch == weight_epoch:
            requests[place.snapshot] = requests.get(place.snapshot, Requests()) + tally.requests
        if tally.hits is not None:
            hits[place.snapshot] = hits.get(place.snapshot, Hits()) + tally.hits
    return EvidenceTotals(
        paired=paired,
        requests=requests,
        hits=hits,
        paired_at=written.get("paired"),
        requests_at=written.get("requests"),
        hits_at=written.get("hits"),
    )


class RunningTotals:
    """The sums of one rollout's rows, kept up row by row, each added in the order in which it was taken in.

    Bounded by the rollout's metrics, snapshots, writers and weights given, not by its rows.
    """

    def __init__(self) -> None:
        self._tallies: dict[Place, Tally] = {}
        self._written: dict[str, float] = {}

    def add(self, row: EvidenceRow) -> None:
        """Add one row, unless it was counted."""
        place = place_of(row)
        before = self._tallies.get(place, Tally())
        after = self._tallies[place] = folded(before, row)
        if is_news(before, after, row):
            self._written[row.kind] = row.at

    def totals(self, weight_epoch: int) -> EvidenceTotals:
        """Return the sums; ``requests`` only of rows under ``weight_epoch``."""
        return totals_of(self._tallies, self._written, weight_epoch)


def add_up(rows: Iterable[EvidenceRow], weight_epoch: int) -> EvidenceTotals:
    """Return the totals of one rollout's rows, taken in one by one; ``requests`` only under ``weight_epoch``."""
    running = RunningTotals()
    for row in rows:
        running.add(row)
    return running.totals(weight_epoch)


class EvidenceStore(Protocol):
    """Port: the evidence of one model, added up as it comes (see :func:`folded`)."""

    def append(self, rows: list[EvidenceRow]) -> None:
        """Take rows in, a writer's in its order; what was counted before, or overlaps it, changes nothing."""

    def totals(self, rollout: str, weight_epoch: int) -> EvidenceTotals:
        """Add up a rollout's evidence; ``requests`` only under ``weight_epoch``.

        Rows of two writers at once may come either way.
        """

    def purge(self, keep: set[str]) -> None:
        """Delete the evidence of every rollout not in ``keep``."""
