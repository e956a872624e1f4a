"""What the trainer remembers of each user: newest items, and everything seen. Vectorised over a batch.

Both answer for the moment *before* each event of a batch, also where one user comes several times in it.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from sluice.encoder import RECENT_LIMIT, Matrix, Rows
from sluice_trainer.growing import Grown

Keys = NDArray[np.int64]
State = dict[str, NDArray[np.generic]]
_USER_BITS: Final = 32


class RecentItems:
    """The last ``RECENT_LIMIT`` items of each user, oldest first, padded with -1 in front."""

    def __init__(self) -> None:
        self._items, self._weights = Grown(RECENT_LIMIT, np.int32), Grown(RECENT_LIMIT, np.float32)

    @property
    def items(self) -> Rows:
        """``(users, R)``; a view."""
        return self._items.rows

    @property
    def weights(self) -> Matrix:
        """``(users, R)``; a view."""
        return self._weights.rows

    def push(self, users: Rows, items: Rows, weights: Matrix) -> tuple[Rows, Matrix]:
        """Take a batch over; return ``(n, R)`` items and weights before each event, newest first."""
        if not len(users):
            return self.items[:0], self.weights[:0]
        self._grow(int(users.max(initial=-1)) + 1)
        blocks = _Blocks.of(users)
        before = []
        for table, new in ((self.items, items), (self.weights, weights)):
            windows = sliding_window_view(blocks.join(table, new), RECENT_LIMIT)  # what precedes a slot
            before.append(windows[:, ::-1][blocks.slots - RECENT_LIMIT])  # newest first, (n, R)
            table[blocks.users] = windows[blocks.ends - RECENT_LIMIT]
        return before[0].astype(np.int32, copy=False), before[1].astype(np.float32, copy=False)

    def forget(self, user: int) -> None:
        """Empty one user's row."""
        if user < len(self.items):
            self.items[user], self.weights[user] = -1, 0

    def _grow(self, users: int) -> None:
        known = self._items.size
        self._items.grow(users)
        self._weights.grow(users)
        self.items[known:] = -1

    def state(self) -> State:
        """Return the arrays for a checkpoint."""
        return {"items": self.items.copy(), "weights": self.weights.copy()}

    def restore(self, state: State) -> None:
        """Take a checkpoint's arrays over."""
        self._items.restore(state["items"])
        self._weights.restore(state["weights"])


class _Blocks(NamedTuple):
    """A batch laid out by user: each distinct user's stored row, then its new values in batch order.

    ``slots (n,)`` is where each event of the batch lies in the flat array, ``ends (u,)`` where a block ends.
    """

    users: Rows
    order: NDArray[np.intp]
    slots: NDArray[np.intp]
    ends: NDArray[np.intp]

    @classmethod
    def of(cls, users: Rows) -> "_Blocks":
        order = np.argsort(users, kind="stable")
        distinct, counts = np.unique(users, return_counts=True)
        ends = np.cumsum(counts + RECENT_LIMIT)
        rank = np.repeat(np.arange(len(distinct)), counts)  # block of each event, in sorted order
        slots = np.empty(len(users), dtype=np.intp)
        slots[order] = np.arange(len(users)) + (rank + 1) * RECENT_LIMIT
        return cls(distinct.astype(np.int32), order, slots, ends)

    def join(self, table: NDArray[np.generic], new: NDArray[np.generic]) -> NDArray[np.generic]:
        flat = np.empty(len(new) + table[self.users].size, dtype=table.dtype)
        stored = np.ones(len(flat), dtype=np.bool_)
        stored[self.slots] = False
        flat[stored] = table[self.users].ravel()
        flat[self.slots] = new
        return flat


class SeenItems:
    """Which user has seen which item: 64-bit keys (user, item) in sorted runs, the newest in a small one.

    Eight bytes a pair. The newest run joins the last large one when it exceeds ``TAIL``, and a large one that
    has ``RUN`` pairs is followed by another, so that joining never copies more than that.
    """

    TAIL: Final = 65_536
    RUN: Final = 2_097_152

    def __init__(self) -> None:
        self._runs: list[Keys] = []
        self._tail: Keys = np.empty(0, dtype=np.int64)

    def push(self, users: Rows, items: Rows) -> NDArray[np.bool_]:
        """Take a batch over; return ``(n,)`` whether each item had been seen before its event."""
        keys = _keys(users, items)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        known = np.append(False, keys[1:] == keys[:-1])[: len(keys)]
        for run in (*self._runs, self._tail):
            known |= _holds(run, keys)
        self._tail = _merged(self._tail, keys[~known])
        seen = np.empty_like(known)
        seen[order] = known
        if len(self._tail) > self.TAIL:
            self._merge()
        return seen

    def _merge(self) -> None:
        if self._runs and len(self._runs[-1]) + len(self._tail) <= self.RUN:
            self._runs[-1] = _merged(self._runs[-1], self._tail)
        else:
            self._runs.append(self._tail)
        self._tail = self._tail[:0]

    def of(self, users: Rows) -> tuple[NDArray[np.intp], Rows]:
        """Return (position in ``users``, item) for every pair on record, each once, in no particular order."""
        found = [_of(run, users) for run in (*self._runs, self._tail)]
        positions, items = zip(*found, strict=True)
        return np.concatenate(positions), np.concatenate(items)

    def forget(self, user: int) -> None:
        """Drop one user's pairs."""
        self._runs = [_without(run, user) for run in self._runs]
        self._tail = _without(self._tail, user)

    def state(self) -> State:
        """Return the arrays for a checkpoint."""
        none = np.empty(0, dtype=np.int64)
        lengths = np.array([len(run) for run in self._runs], dtype=np.int64)
        return {
            "runs": np.concatenate([none, *self._runs]),
            "ends": np.cumsum(lengths),
            "tail": self._tail.copy(),
        }

    def restore(self, state: State) -> None:
        """Take a checkpoint's arrays over."""
        runs, ends = state["runs"].astype(np.int64), state["ends"].tolist()
        self._runs = [run.copy() for run in np.split(runs, ends)[: len(ends)]]
        self._tail = state["tail"].astype(np.int64)


def _holds(run: Keys, keys: Keys) -> NDArray[np.bool_]:
    if not len(run):
        return np.zeros(len(keys), dtype=np.bool_)
    places = np.minimum(np.searchsorted(run, keys), len(run) - 1)
    held: NDArray[np.bool_] = run[places] == keys
    return held


def _merged(run: Keys, late: Keys) -> Keys:
    """Return two sorted runs as one; many times faster than sorting."""
    return np.insert(run, np.searchsorted(run, late), late)


def _without(run: Keys, user: int) -> Keys:
    start, stop = np.searchsorted(run, np.array([user, user + 1], dtype=np.int64) << _USER_BITS)
    return run if start == stop else np.delete(run, slice(start, stop))


def _of(run: Keys, users: Rows) -> tuple[NDArray[np.intp], Rows]:
    wide = users.astype(np.int64)
    starts = np.searchsorted(run, wide << _USER_BITS)
    counts = np.searchsorted(run, (wide + 1) << _USER_BITS) - starts
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    items = run[np.repeat(starts, counts) + within] & 0xFFFFFFFF
    return np.repeat(np.arange(len(users)), counts), items.astype(np.int32)


def _keys(users: Rows, items: Rows) -> Keys:
    return (users.astype(np.int64) << _USER_BITS) | items.astype(np.int64)
