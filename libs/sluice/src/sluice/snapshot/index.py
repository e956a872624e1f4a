"""Searches a Faiss index that lies in a mapped file.

Faiss is imported where an index is opened, never at import time: a server forks its workers first.
"""

from math import ceil, sqrt
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sluice.encoder import Matrix, Rows
from sluice.errors import SnapshotRefused
from sluice.snapshot.manifest import PartManifest
from sluice.snapshot.selection import Found, Mask

FLAT: Final = "Flat"
IVF: Final = "IVFFlat"
HNSW: Final = "HNSW"

_EASY_REACH: Final = 100
_MOST_EFFORT: Final = 1 << 16
_SMALLEST_LIMIT: Final = 1 << 20


def library() -> Any:
    """Return Faiss, whose type stubs lack half of it."""
    import faiss

    return faiss


class _Packed(NamedTuple):
    """A mask, never changed once it is in use; its complement as bits; how many rows it hides."""

    mask: Mask
    allowed: NDArray[np.uint8]
    hidden: int


class Index:
    """An opened index of ``rows`` vectors. ``kind`` is :data:`IVF` or :data:`HNSW`.

    ``effort`` is how many cells IVF visits (nprobe), how many candidates HNSW keeps (efSearch): measured
    when the index was made, for 20 rows of all.
    """

    def __init__(self, kind: str, index: Any, effort: int) -> None:
        self.kind, self.effort, self._index = kind, effort, index
        self._packed: _Packed | None = None
        self._limit = index.nlist if kind == IVF else _MOST_EFFORT

    def warm(self) -> None:
        """Read every page of the index once: all cells of IVF; a walk through HNSW that sees much of it."""
        faiss = library()
        nothing = np.zeros((1, self._index.d), dtype=np.float32)
        if self.kind == IVF:
            parameters = faiss.SearchParametersIVF(nprobe=self._index.nlist)
        else:
            parameters = faiss.SearchParametersHNSW(efSearch=_MOST_EFFORT)
        self._index.search(nothing, 1, params=parameters)

    def search(self, vector: Matrix, k: int, exclude: Rows, blocked: Mask | None) -> Found:
        """Return up to ``k`` rows near ``vector (d,)`` but those in ``exclude`` or ``blocked``; maybe too few.

        Where much is hidden or much is asked for, more is searched: the effort grows with the square root of
        the rows that a search of everything would have to find, beyond the first 100.
        """
        faiss = library()
        rows: int = self._index.ntotal
        packed = None if blocked is None else self._pack(blocked)
        hidden = len(exclude) + (packed.hidden if packed else 0)
        reach = k * rows / max(rows - hidden, 1)
        effort = min(self._limit, ceil(self.effort * sqrt(max(1.0, reach / _EASY_REACH))))
        kept = _selectors(faiss, rows, exclude, packed)  # Faiss keeps bare pointers: alive until it returns
        selector = kept[-1] if kept else None
        if self.kind == IVF:
            parameters = faiss.SearchParametersIVF(nprobe=effort, sel=selector)
        else:
            parameters = faiss.SearchParametersHNSW(efSearch=max(effort, k), sel=selector)
        scores, found = self._index.search(vector[None, :], k, params=parameters)
        return _ordered(scores[0], found[0])

    def _pack(self, blocked: Mask) -> _Packed:
        """Return a mask as Faiss reads it; the one used last is kept, as most searches share one."""
        packed = self._packed
        if packed is None or packed.mask is not blocked:
            bits = np.packbits(~blocked, bitorder="little")
            self._packed = packed = _Packed(blocked, bits, int(np.count_nonzero(blocked)))
        return packed


def _selectors(faiss: Any, rows: int, exclude: Rows, packed: _Packed | None) -> list[Any]:
    """Return what hides rows: the last one is the selector, the others what it points to."""
    if packed is None:
        if not len(exclude):
            return []
        excluded = faiss.IDSelectorBatch(exclude.astype(np.int64))
        return [excluded, faiss.IDSelectorNot(excluded)]
    bits = packed.allowed.copy()
    np.bitwise_and.at(bits, exclude >> 3, ~(np.uint8(1) << (exclude & 7).astype(np.uint8)))
    return [bits, faiss.IDSelectorBitmap(rows, faiss.swig_ptr(bits))]


def _ordered(scores: Matrix, rows: Any) -> Found:
    """Return what was found, best first, equal scores by row."""
    there = (rows >= 0) & np.isfinite(scores)
    scores, rows = scores[there], rows[there].astype(np.int32)
    order = np.lexsort((rows, -scores))
    return Found(rows[order], scores[order])


def open_index(path: Path, part: PartManifest) -> Index | None:
    """Map the index of a part; None if the part has none and is searched exactly.

    Raises :class:`SnapshotRefused` for a file that is not the index the manifest tells of. What Faiss
    allocates while it reads is bounded by the file's size, whatever its header claims.
    """
    if part.index == FLAT:
        return None
    if part.index not in (IVF, HNSW):
        raise SnapshotRefused(f'index type "{part.index}" is unknown to this version; upgrade the reader')
    faiss = library()
    try:
        faiss.set_deserialization_vector_byte_limit(max(path.stat().st_size, _SMALLEST_LIMIT))
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except (OSError, RuntimeError, MemoryError) as error:
        raise SnapshotRefused(f"{path.name} is not a readable index: {str(error)[-200:]}") from error
    kind = faiss.IndexIVFFlat if part.index == IVF else faiss.IndexHNSWFlat
    if not isinstance(index, kind) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise SnapshotRefused(f"{path.name} is no {part.index} index of inner products")
    if (index.ntotal, index.d) != (part.rows, part.width):
        raise SnapshotRefused(f"{path.name} holds {index.ntotal} x {index.d}, the manifest says otherwise")
    return Index(part.index, index, _effort(path, part, index))


def _effort(path: Path, part: PartManifest, index: Any) -> int:
    name, most = ("nprobe", index.nlist) if part.index == IVF else ("efSearch", _MOST_EFFORT)
    effort = part.parameters.get(name, 0)
    if not 1 <= effort <= most:
        raise SnapshotRefused(f"{name} of {path.name} is {effort}; a manifest gives 1 to {most}")
    return effort
