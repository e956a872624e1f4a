"""Which interactions of a batch are repeats, by the rule of :mod:`sluice.duplicates`, without a loop over them.

Where each event id was seen last is kept as 64-bit hashes in sorted arrays, 16 bytes an id; two ids that share a
hash (one pair in 10^19) would count as one.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from sluice.duplicates import WINDOW
from sluice_trainer.learners.sampling import mix

Hashes = NDArray[np.uint64]
Offsets = NDArray[np.int64]
Flags = NDArray[np.bool_]
State = dict[str, NDArray[Any]]
_CELLS: Final = 1 << 16  # characters hashed at once: they stay in the processor's cache
_YOUNG: Final = 8_192  # ids kept apart, so that a small batch moves little memory


class Seen(NamedTuple):
    """Distinct hashes, ascending, and the newest offset of each."""

    hashes: Hashes = np.empty(0, dtype=np.uint64)
    offsets: Offsets = np.empty(0, dtype=np.int64)

    def newest(self, hashes: Hashes) -> Offsets:
        """Return the offset of each of ``hashes``, a very low one where it is unknown."""
        places, known = self._places(hashes)
        found = np.full(len(hashes), _NEVER)
        found[known] = self.offsets[places[known]]
        return found

    def _places(self, hashes: Hashes) -> tuple[NDArray[np.intp], Flags]:
        places = np.searchsorted(self.hashes, hashes)
        known = places < len(self.hashes)
        known[known] = self.hashes[places[known]] == hashes[known]
        return places, known

    def with_newer(self, other: "Seen") -> "Seen":
        """Return both as one; of a hash in both, ``other`` knows better."""
        places, known = self._places(other.hashes)
        offsets, new = self.offsets.copy(), ~known
        offsets[places[known]] = other.offsets[known]
        return Seen(
            np.insert(self.hashes, places[new], other.hashes[new]),
            np.insert(offsets, places[new], other.offsets[new]),
        )

    def after(self, offset: int) -> "Seen":
        """Return what was seen after ``offset``."""
        late = self.offsets > offset
        return Seen(self.hashes[late], self.offsets[late])


_NEVER: Final = np.int64(-1 << 62)


class _Partition:
    """What was seen in one partition: an older, large part and a younger, small one."""

    def __init__(self, old: Seen, newest: int) -> None:
        self.old, self.young, self.newest = old, Seen(), newest

    def repeated(self, hashes: Hashes, offsets: Offsets, window: int) -> Flags:
        """Take ids over, in offset order, and return which are repeats."""
        order = np.argsort(hashes)
        ascending = hashes[order]
        again = ascending[1:] == ascending[:-1]
        if again.any():  # seldom: then it matters which came first
            order = np.argsort(hashes, kind="stable")
        before = np.maximum(self.old.newest(ascending), self.young.newest(ascending))
        before[1:][again] = offsets[order[:-1][again]]
        repeated = np.zeros(len(hashes), dtype=np.bool_)
        repeated[order] = offsets[order] - before <= window
        last = np.append(~again, True)
        self._remember(Seen(ascending[last], offsets[order[last]]), window)
        return repeated

    def _remember(self, new: Seen, window: int) -> None:
        self.newest = int(new.offsets.max(initial=self.newest))
        if len(self.young.hashes) + len(new.hashes) <= _YOUNG:
            self.young = self.young.with_newer(new)
        else:
            self.old, self.young = self.old.with_newer(self.young).with_newer(new), Seen()
        if len(self.old.hashes) > 2 * window:
            self.old = self.old.after(self.newest - window)

    def seen(self, window: int) -> Seen:
        """Return what a later offset may still repeat."""
        return self.old.with_newer(self.young).after(self.newest - window)


class Repeats:
    """Where each event id was seen last; at most two windows' worth a partition."""

    def __init__(self, window: int = WINDOW) -> None:
        self.window = window
        self._partitions: dict[int, _Partition] = {}

    def of(self, partitions: NDArray[np.int64], offsets: Offsets, event_ids: Sequence[str | None]) -> Flags:
        """Take a batch over, in offset order within each partition, and return which events are repeats.

        An event without an id (None) never is one.
        """
        ids = event_ids if None not in event_ids else [each for each in event_ids if each is not None]
        repeated = np.zeros(len(offsets), dtype=np.bool_)
        if not ids:
            return repeated
        named = np.arange(len(offsets))
        if len(ids) < len(event_ids):
            named = np.flatnonzero([each is not None for each in event_ids])
        hashes = hashes_of(cast(Sequence[str], ids))
        for number in np.unique(partitions[named]).tolist():
            own = np.flatnonzero(partitions[named] == number)
            of = self._partitions.setdefault(number, _Partition(Seen(), -1))
            repeated[named[own]] = of.repeated(hashes[own], offsets[named[own]], self.window)
        return repeated

    def state(self) -> State:
        """Return ``hashes (n,) uint64``, ``offsets (n,) int64``, ``partitions (n,) int32``, in log order.

        They depend on what was asked alone, not on when memory was given back.
        """
        hashes, offsets, partitions = [Seen().hashes], [Seen().offsets], [np.empty(0, dtype=np.int32)]
        for number, seen in sorted((number, each.seen(self.window)) for number, each in self._each()):
            order = np.argsort(seen.offsets)  # no two are equal
            hashes.append(seen.hashes[order])
            offsets.append(seen.offsets[order])
            partitions.append(np.full(len(order), number, dtype=np.int32))
        return {
            "hashes": np.concatenate(hashes),
            "offsets": np.concatenate(offsets),
            "partitions": np.concatenate(partitions),
        }

    def _each(self) -> Iterator[tuple[int, _Partition]]:
        yield from sorted(self._partitions.items())

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what :meth:`state` gave."""
        self._partitions = {}
        for number in np.unique(state["partitions"]).tolist():
            own = state["partitions"] == number
            hashes, offsets = state["hashes"][own], state["offsets"][own]
            order = np.argsort(hashes)
            seen = Seen(hashes[order].astype(np.uint64), offsets[order].astype(np.int64))
            self._partitions[number] = _Partition(seen, int(offsets.max()))


def hashes_of(words: Sequence[str]) -> Hashes:
    """Return a 64-bit hash of each word: the sum of its pairs of characters, each mixed with its place.

    What pads a short word is 0 and adds nothing, so a word's hash does not depend on its neighbours'.
    """
    width = max(map(len, words)) + 1 >> 1  # pairs of characters
    codes = np.array(words, dtype=f"U{2 * width}").view(np.uint64).reshape(len(words), width)
    places = mix(np.arange(1, width + 1, dtype=np.uint64)) | np.uint64(1)
    step = max(1, _CELLS // width)
    pieces = [
        mix(codes[start : start + step] * places).sum(axis=1, dtype=np.uint64)
        for start in range(0, len(words), step)
    ]
    return mix(np.concatenate(pieces))
