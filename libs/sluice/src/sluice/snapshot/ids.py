"""Id maps: row → id and id → row, both from mapped files.

Ids lie one after another in ``<name>.ids.npy`` (uint8), their ends in ``<name>.ends.npy`` (int64). Look-up
goes by sorted 64-bit hashes (``hashes``, uint64) with their rows (``rows``, int32), then compares the
bytes, so that a collision cannot answer for another id.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sluice.errors import SnapshotRefused

FILES = ("ids", "ends", "hashes", "rows")


def hash64(identifier: bytes) -> int:
    """Return the first 64 bits of BLAKE2b, the same on every machine and in every run."""
    return int.from_bytes(blake2b(identifier, digest_size=8).digest(), "little")


_remembered_hash64 = lru_cache(maxsize=1 << 16)(hash64)


def build(identifiers: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return the arrays of an id map; row i belongs to ``identifiers[i]``, which must be distinct."""
    encoded = [identifier.encode() for identifier in identifiers]
    if len(set(encoded)) != len(encoded):
        raise ValueError("ids of a part must be distinct")
    hashes = np.fromiter((hash64(each) for each in encoded), dtype=np.uint64, count=len(encoded))
    order = np.argsort(hashes, kind="stable")
    ends = np.cumsum([len(each) for each in encoded], dtype=np.int64)
    return {
        "ids": np.frombuffer(b"".join(encoded), dtype=np.uint8),
        "ends": ends,
        "hashes": hashes[order],
        "rows": order.astype(np.int32),
    }


class IdMap:
    """Reads an id map from (usually memory-mapped) arrays."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        try:
            # As plain arrays: every slice of a numpy.memmap costs a microsecond of bookkeeping.
            self._ids, self._ends, self._hashes, self._rows = (np.asarray(arrays[name]) for name in FILES)
        except KeyError as error:
            raise SnapshotRefused(f"the id map lacks its {error.args[0]} file") from error
        if not len(self._ends) == len(self._hashes) == len(self._rows):
            raise SnapshotRefused("the id map's files have different numbers of rows")
        self._view = self._ids.data

    def __len__(self) -> int:
        return len(self._ends)

    def id_of(self, row: int) -> str:
        """Return the id of ``row``."""
        return self._bytes_of(row).decode()

    def row_of(self, identifier: str) -> int:
        """Return the row of ``identifier``, or -1."""
        encoded = identifier.encode()
        wanted = np.uint64(hash64(encoded))
        place = int(np.searchsorted(self._hashes, wanted))
        while place < len(self._hashes) and self._hashes[place] == wanted:
            row = int(self._rows[place])
            if self._bytes_of(row) == encoded:
                return row
            place += 1
        return -1

    def rows_of(self, identifiers: Iterable[str]) -> NDArray[np.int32]:
        """Return the rows of ``identifiers``, -1 where unknown."""
        encoded = [identifier.encode() for identifier in identifiers]
        wanted = np.fromiter(map(_remembered_hash64, encoded), dtype=np.uint64, count=len(encoded))
        found = np.full(len(encoded), -1, dtype=np.int32)
        if not len(self):
            return found
        places = np.minimum(np.searchsorted(self._hashes, wanted), len(self) - 1)
        hits = np.flatnonzero(self._hashes[places] == wanted)
        found[hits] = self._rows[places[hits]]
        ends = self._ends[found[hits]].tolist()
        starts = np.where(found[hits] > 0, self._ends[found[hits] - 1], 0).tolist()
        for hit, start, end in zip(hits.tolist(), starts, ends, strict=True):
            if self._view[start:end] != encoded[hit]:  # another id of equal hash
                found[hit] = self.row_of(encoded[hit].decode())
        return found

    def all(self) -> list[str]:
        """Return every id in row order."""
        return [self.id_of(row) for row in range(len(self))]

    def _bytes_of(self, row: int) -> bytes:
        start = int(self._ends[row - 1]) if row else 0
        return self._ids[start : int(self._ends[row])].tobytes()
