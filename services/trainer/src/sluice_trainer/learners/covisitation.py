"""CoVisitation: items seen by the same users near each other, counted as events arrive.

Each event pairs its item with the user's recent items, weighted ``decay^age``; similarity is the smoothed
cosine ``c_ij / √((n_i + s)(n_j + s))`` (item-based filtering: Sarwar et al. 2001, Linden, Smith, York 2003;
shrinkage against rare pairs: Bell, Koren 2007).
"""

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from sluice.encoder import NeighboursEncoder, Rows
from sluice.model import Scalar
from sluice.snapshot.content import NeighboursContent, UnitContent
from sluice_trainer.learners import parameters as wire
from sluice_trainer.learners.batches import refuse_bad_weights, take
from sluice_trainer.learners.protocol import Interactions, State, TrainStats

_CHUNK: Final = 4096  # events whose pairs are made at once: at most 4096 · 2 · 50 of 16 bytes
_LEAST_PENDING: Final = 1 << 18  # pairs that wait before they are merged; more once the table is large

Counts = NDArray[np.float64]
PairKeys = NDArray[np.int64]


class CoVisitationParameters(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """``decay`` weights a pair by the age of its older item, ``query_decay`` the user's items when asked.

    ``smoothing`` holds rare pairs down, ``neighbours`` is how many a snapshot keeps of each item and
    ``capacity`` how many the learner counts (its memory: 16 bytes each).
    """

    decay: Annotated[float, Meta(gt=0, le=1)] = 0.97
    query_decay: Annotated[float, Meta(gt=0, le=1)] = 0.9
    smoothing: Annotated[float, Meta(ge=0, le=10_000)] = 5.0
    neighbours: Annotated[int, Meta(ge=1, le=2000)] = 200
    capacity: Annotated[int, Meta(ge=1, le=100_000)] = 2000


class PairTable:
    """Sums by (source, target) item, sorted by key ``source · 2^32 + target``; bounded per source.

    New pairs wait unsorted until they are a quarter of the table, then are merged. When that happens
    depends on the pairs alone, never on who reads, so that a replay sums in the same order.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.keys: PairKeys = np.zeros(0, dtype=np.int64)
        self.sums: Counts = np.zeros(0, dtype=np.float64)
        self.pending_keys: list[PairKeys] = []
        self.pending_sums: list[Counts] = []

    def add(self, sources: Rows, targets: Rows, gains: Counts) -> None:
        """Count the pairs ``(p,)`` and merge if enough wait."""
        keys, sums = _summed((sources.astype(np.int64) << 32) | targets, gains)
        self.pending_keys.append(keys)
        self.pending_sums.append(sums)
        if sum(map(len, self.pending_keys)) >= max(_LEAST_PENDING, len(self.keys) // 4):
            self.keys, self.sums = self.merged()
            self.pending_keys, self.pending_sums = [], []

    def merged(self) -> tuple[PairKeys, Counts]:
        """Return keys and sums with all pending pairs, each source's largest ``capacity`` only."""
        keys = np.concatenate([self.keys, *self.pending_keys])
        keys, sums = _summed(keys, np.concatenate([self.sums, *self.pending_sums]))
        kept = _ranks(keys >> 32, sums) < self.capacity
        return keys[kept], sums[kept]

    def state(self) -> State:
        """Return the arrays, pending ones apart."""
        empty_keys, empty_sums = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float64)
        return {
            "keys": self.keys.copy(),
            "sums": self.sums.copy(),
            "pending_keys": np.concatenate([empty_keys, *self.pending_keys]),
            "pending_sums": np.concatenate([empty_sums, *self.pending_sums]),
        }

    def restore(self, state: State) -> None:
        """Take over what :meth:`state` gave."""
        self.keys, self.sums = state["keys"].copy(), state["sums"].copy()
        self.pending_keys, self.pending_sums = [state["pending_keys"].copy()], [state["pending_sums"].copy()]


class CoVisitation:
    """Item-to-item counts behind the :class:`~sluice_trainer.learners.protocol.Learner` protocol."""

    def __init__(self, parameters: CoVisitationParameters, seed: int = 0) -> None:
        self.parameters, self.seed = parameters, seed
        self.pairs = PairTable(parameters.capacity)
        self.counts = np.zeros(0, dtype=np.float64)  # (items,), Σ weight²

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Scalar], seed: int) -> "CoVisitation":
        """Return a fresh learner; raises :class:`sluice.errors.InvalidModel`."""
        return cls(wire.read(parameters, CoVisitationParameters), seed)

    def fit(self, history: Interactions, users: int, items: int) -> TrainStats:
        """Count all history from zero."""
        refuse_bad_weights(history, history.weights, history.recent_weights)
        self.pairs, self.counts = PairTable(self.parameters.capacity), np.zeros(items, dtype=np.float64)
        return self.learn(history, users, items)

    def learn(self, batch: Interactions, users: int, items: int) -> TrainStats:
        """Pair each event's item with the user's recent items, in both directions."""
        refuse_bad_weights(batch, batch.weights, batch.recent_weights)
        self.counts = np.append(self.counts, np.zeros(max(0, items - len(self.counts))))
        np.add.at(self.counts, batch.items, batch.weights.astype(np.float64) ** 2)
        for start in range(0, len(batch.items), _CHUNK):
            self._pair(take(batch, slice(start, start + _CHUNK)))
        return TrainStats(events=len(batch.items))

    def _pair(self, batch: Interactions) -> None:
        ages = self.parameters.decay ** np.arange(batch.recent.shape[1])
        gains = batch.weights[:, None].astype(np.float64) * batch.recent_weights * ages  # (B, R)
        items = np.broadcast_to(batch.items[:, None], batch.recent.shape)
        known = (batch.recent >= 0) & (batch.recent != items)
        ours, theirs, gain = items[known], batch.recent[known], gains[known]
        self.pairs.add(np.append(ours, theirs), np.append(theirs, ours), np.append(gain, gain))

    def forget(self, user: int) -> None:
        """Do nothing: no state is kept by user."""

    def content(self, identifiers: list[str]) -> UnitContent:
        """Return each item's most similar ``neighbours``, best first, equal ones by row."""
        keys, sums = self.pairs.merged()
        sources, targets = keys >> 32, keys & 0xFFFFFFFF
        norms = np.sqrt(self.counts + self.parameters.smoothing)
        similarities = sums / (norms[sources] * norms[targets])
        ranks = _ranks(sources, similarities)
        width = min(self.parameters.neighbours, int(ranks.max(initial=0)) + 1)
        kept = (ranks < width) & (similarities > 0)
        rows = np.full((len(identifiers), width), -1, dtype=np.int32)
        values = np.zeros((len(identifiers), width), dtype=np.float32)
        rows[sources[kept], ranks[kept]] = targets[kept]
        values[sources[kept], ranks[kept]] = similarities[kept]
        part = NeighboursContent(identifiers=list(identifiers), rows=rows, similarities=values)
        return UnitContent(
            parts={"items": part}, encoder=NeighboursEncoder(decay=self.parameters.query_decay)
        )

    def state(self) -> State:
        """Return ``counts (items,)`` and the pair table's arrays."""
        return {"counts": self.counts.copy(), **self.pairs.state()}

    def restore(self, state: State) -> None:
        """Take over what :meth:`state` gave."""
        self.counts = np.array(state["counts"], dtype=np.float64)
        self.pairs.restore(state)


def _summed(keys: PairKeys, gains: Counts) -> tuple[PairKeys, Counts]:
    """Return the distinct keys, sorted, and the sum of each one's gains in their given order."""
    order = np.argsort(keys, kind="stable")
    keys, gains = keys[order], gains[order]
    starts = np.flatnonzero(np.append(np.ones(min(len(keys), 1), dtype=bool), keys[1:] != keys[:-1]))
    return keys[starts], np.add.reduceat(gains, starts) if len(starts) else gains


def _ranks(sources: PairKeys, values: Counts) -> NDArray[np.int64]:
    """Return the place of each value among its source's, largest 0; ``sources`` are sorted, ties keep order."""
    order = np.lexsort((-values, sources))
    starts = np.searchsorted(sources, sources)
    ranks = np.empty(len(sources), dtype=np.int64)
    ranks[order] = np.arange(len(sources)) - starts
    return ranks
