"""Prequential evaluation: score every event before learning it (Gama, Sebastião, Rodrigues 2013).

An event counts if the user is known, the item is known to the stable snapshot and unseen by the user. The
rank is among all items the user has not seen, ties count against the contender, and a score that is not
finite is a miss.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sluice.encoder import Matrix, Rows
from sluice.evidence import Paired
from sluice.snapshot.unit import Unit
from sluice_trainer.learners.protocol import Interactions
from sluice_trainer.learners.sampling import hashes

MISS: Final = np.iinfo(np.int32).max
"""The rank of an item that the contender lacks or cannot score."""
_SAMPLE: Final = 0x5A11  # the sample's own stream of hashes
_CELLS: Final = 4_000_000  # scores held at once: 16 MB
Ranks = NDArray[np.int32]
Places = NDArray[np.intp]
Counts = NDArray[np.float64]
Pairs = tuple[Places, Rows]
"""(position, item): what the user of the event at that position had seen before it, each once."""


class Events(NamedTuple):
    """The events of a batch that are to be evaluated, as trainer rows.

    ``items (n,)``; ``recent (n, R)`` and ``weights (n, R)`` before the event, newest first;
    ``seen`` = (position, item) pairs, positions ascending, of what each user had seen before the event.
    """

    items: Rows
    recent: Rows
    weights: Matrix
    seen: Pairs

    @classmethod
    def of(cls, batch: Interactions, places: Places, seen: Pairs) -> "Events":
        """Return the events at ``places`` of a batch; ``seen`` counts positions among these."""
        return cls(batch.items[places], batch.recent[places], batch.recent_weights[places], seen)

    def take(self, chosen: Places) -> "Events":
        """Return the events at the ascending positions ``chosen``."""
        positions, items = self.seen
        kept = np.isin(positions, chosen)
        return Events(
            self.items[chosen],
            self.recent[chosen],
            self.weights[chosen],
            (np.searchsorted(chosen, positions[kept]), items[kept]),
        )

    def slice(self, start: int, stop: int) -> "Events":
        """Return events ``start`` to ``stop``."""
        positions, items = self.seen
        inside = (positions >= start) & (positions < stop)
        return Events(
            self.items[start:stop],
            self.recent[start:stop],
            self.weights[start:stop],
            (positions[inside] - start, items[inside]),
        )


def sampled(keys: NDArray[np.uint64], of: int) -> NDArray[np.bool_]:
    """Return a sample of one event ``of`` so many, by a hash of the event: the same on every replay."""
    if of == 1:
        return np.ones(len(keys), dtype=np.bool_)
    chosen: NDArray[np.bool_] = hashes(_SAMPLE, keys, np.zeros(1, dtype=np.uint64)) % np.uint64(of) == 0
    return chosen


def seen_within(batch: Interactions, first: NDArray[np.bool_], asked: Places) -> Pairs:
    """Return what the users of the events ``asked`` saw in the batch before them.

    ``first`` tells which events show their user a new item; positions are among ``asked``.
    """
    of_asked = np.zeros(int(batch.users.max(initial=-1)) + 1, dtype=np.bool_)
    of_asked[batch.users[asked]] = True
    new = np.flatnonzero(first & of_asked[batch.users])
    new = new[np.argsort(batch.users[new], kind="stable")]  # by user, then in order
    marks = _marks(batch.users[new], new)
    starts = np.searchsorted(marks, _marks(batch.users[asked], np.zeros_like(asked)))
    counts = np.searchsorted(marks, _marks(batch.users[asked], asked)) - starts
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    early = new[np.repeat(starts, counts) + within]
    return np.repeat(np.arange(len(asked)), counts), batch.items[early]


def _marks(users: Rows, places: Places) -> NDArray[np.int64]:
    return (users.astype(np.int64) << 32) | places


def merged(one: Pairs, other: Pairs) -> Pairs:
    """Return the pairs of both, positions ascending."""
    positions = np.concatenate([one[0], other[0]])
    order = np.argsort(positions, kind="stable")
    return positions[order], np.concatenate([one[1], other[1]])[order]


def ranks_of(unit: Unit, rows: Rows, events: Events) -> Ranks:
    """Return the rank of each event's item by ``unit``; ``rows`` maps trainer rows to the unit's, or -1."""
    step = max(1, _CELLS // max(1, len(unit.items.ids)))
    chunks = [
        _ranks_of_chunk(unit, rows, events.slice(start, start + step))
        for start in range(0, len(events.items), step)
    ]
    return np.concatenate(chunks) if chunks else np.empty(0, dtype=np.int32)


def _ranks_of_chunk(unit: Unit, rows: Rows, events: Events) -> Ranks:
    recent = np.where(events.recent >= 0, rows[events.recent], -1).astype(np.int32)
    try:
        scores = unit.items.scores(unit.encode_rows(recent, events.weights))
    except np.linalg.LinAlgError:  # weights so large that no query solves them: a miss for their user alone
        if len(events.items) == 1:
            return np.array([MISS], dtype=np.int32)
        middle = len(events.items) // 2
        halves = events.slice(0, middle), events.slice(middle, len(events.items))
        return np.concatenate([_ranks_of_chunk(unit, rows, half) for half in halves])
    positions, seen = events.seen
    return rank(scores, rows[events.items], (positions, rows[seen]))


def rank(scores: Matrix, items: Rows, seen: Pairs) -> Ranks:
    """Return each row's rank of ``items`` among what is not ``seen``; -1 in ``items`` is a miss.

    ``scores`` is ``(n, items)``. Rank 1 is best; equal scores count as better than one's own.
    """
    own = np.where(items >= 0, scores[np.arange(len(items)), np.maximum(items, 0)], np.nan)
    better = (scores >= own[:, None]).sum(axis=1, dtype=np.int32)
    positions, columns = seen
    positions, columns = positions[columns >= 0], columns[columns >= 0]
    better -= _count(positions, scores[positions, columns] >= own[positions], len(own))
    return np.where(np.isfinite(own), np.maximum(better, 1), MISS).astype(np.int32)


def _count(positions: Places, holds: NDArray[np.bool_], size: int) -> Ranks:
    return np.bincount(positions[holds], minlength=size).astype(np.int32)


def popularity_ranks(counts: Counts, events: Events) -> Ranks:
    """Return the rank of each event's item by plain popularity; an item never counted is a miss."""
    own = counts[events.items]
    better = len(counts) - np.searchsorted(np.sort(counts), own, side="left").astype(np.int32)
    positions, items = events.seen
    better -= _count(positions, counts[items] >= own[positions], len(own))
    return np.where(own > 0, better, MISS).astype(np.int32)


def score(metric: str, ranks: Ranks) -> NDArray[np.float64]:
    """Return the score in [0, 1] of each rank: ``recall@k`` is 1 within the first k, ``mrr`` is 1/rank."""
    if metric == "mrr":
        return np.where(ranks == MISS, 0.0, 1.0 / ranks)
    k = int(metric.removeprefix("recall@"))
    return (ranks <= k).astype(np.float64)


def paired(metrics: Sequence[str], ranks: Mapping[str, Ranks]) -> dict[str, Paired]:
    """Return the paired statistics of ``candidate``, ``stable`` and ``popular`` ranks, by metric."""
    return {metric: _paired(*(score(metric, ranks[name]) for name in CONTENDERS)) for metric in metrics}


CONTENDERS: Final = ("candidate", "stable", "popular")


def _paired(
    candidate: NDArray[np.float64], stable: NDArray[np.float64], popular: NDArray[np.float64]
) -> Paired:
    return Paired(
        n=len(candidate),
        candidate=float(candidate.sum()),
        stable=float(stable.sum()),
        popular=float(popular.sum()),
        candidate_squared=float(candidate @ candidate),
        stable_squared=float(stable @ stable),
        popular_squared=float(popular @ popular),
        candidate_stable=float(candidate @ stable),
        candidate_popular=float(candidate @ popular),
    )


class Window:
    """Ranks of what is served and of popularity: over all events, and over the newest ones.

    ``recent (2, size)`` is a ring of ranks; ``sums`` counts, per metric, what each of the two scored.
    """

    SIZE: Final = 2_000
    METRICS: Final = ("recall@10", "recall@20", "mrr")

    def __init__(self) -> None:
        self.evaluated = 0
        self.sums = np.zeros((2, len(self.METRICS)), dtype=np.float64)
        self.recent = np.full((2, self.SIZE), MISS, dtype=np.int32)

    def push(self, stable: Ranks, popular: Ranks) -> None:
        """Add a batch of ranks."""
        for row, ranks in enumerate((stable, popular)):
            self.sums[row] += [score(metric, ranks).sum() for metric in self.METRICS]
            slots = (self.evaluated + np.arange(len(ranks))) % self.SIZE
            self.recent[row, slots] = ranks
        self.evaluated += len(stable)

    def summary(self) -> dict[str, float]:
        """Return ``<metric>`` and ``popular:<metric>`` over all, ``window:…`` over the newest, ``samples``."""
        made: dict[str, float] = {"samples": float(self.evaluated)}
        newest = min(self.evaluated, self.SIZE)
        if not newest:
            return made
        for row, prefix in enumerate(("", "popular:")):
            for column, metric in enumerate(self.METRICS):
                made[prefix + metric] = float(self.sums[row, column] / self.evaluated)
                windowed = score(metric, self.recent[row, :newest])
                made[f"window:{prefix}{metric}"] = float(windowed.mean())
        return made

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays for a checkpoint."""
        return {
            "evaluated": np.array(self.evaluated),
            "sums": self.sums.copy(),
            "recent": self.recent.copy(),
        }

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take a checkpoint's arrays over."""
        self.evaluated = int(state["evaluated"])
        self.sums, self.recent = state["sums"].astype(np.float64), state["recent"].astype(np.int32)
