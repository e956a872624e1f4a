"""Id maps: row → id and id → row, both from mapped files.

Ids lie one after another in ``<name>.ids.npy`` (uint8), their ends in ``<name>.ends.npy`` (int64). Look-up
goes by sorted 64-bit hashes (``hashes``, uint64) with their rows (``rows``, int32), then compares the
bytes, so that a collision cannot answer for another id.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sluice.errors import SnapshotRefused

FILES: Final = ("ids", "ends", "hashes", "rows")
_REMEMBERED: Final = 1 << 16


def hash64(identifier: bytes) -> int:
    """Return the first 64 bits of BLAKE2b, the same on every machine and in every run."""
    return int.from_bytes(blake2b(identifier, digest_size=8).digest(), "little")


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
        self._remembered: dict[str, int] = {}

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
        """Return the rows of ``identifiers``, -1 where unknown.

        Up to 65,536 ids are remembered: a look-up costs about 1 µs, a memory of one 0.05 µs, and a search asks
        for hundreds that a user has seen.
        """
        identifiers = list(identifiers)
        rows = list(map(self._remembered.get, identifiers))
        if None not in rows:
            return np.array(rows, dtype=np.int32)
        missing = [place for place, row in enumerate(rows) if row is None]
        asked = [identifiers[place] for place in missing]
        found = self._look_up([identifier.encode() for identifier in asked])
        for place, row in zip(missing, found.tolist(), strict=True):
            rows[place] = row
        self._remember(asked, found.tolist())
        return np.array(rows, dtype=np.int32)

    def _remember(self, identifiers: Sequence[str], rows: Sequence[int]) -> None:
        if len(self._remembered) + len(rows) > _REMEMBERED:
            self._remembered = {}  # others may be reading the old one
        if len(rows) <= _REMEMBERED:
            self._remembered.update(zip(identifiers, rows, strict=True))

    def _look_up(self, encoded: Sequence[bytes]) -> NDArray[np.int32]:
        wanted = np.fromiter(map(hash64, encoded), dtype=np.uint64, count=len(encoded))
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
