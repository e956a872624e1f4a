"""Parts of a unit: ``vectors`` (matrix, Faiss index, ids) and ``neighbours`` (top neighbours per row, ids).

Both answer two questions about a query: the best ``k`` rows without the excluded ones (serving), and the
scores of all rows (evaluation). Faiss is imported only where an index is opened, never at import time: a
server forks its workers first.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sluice.encoder import Matrix, Query, Rows
from sluice.errors import SnapshotRefused
from sluice.snapshot.ids import IdMap


class Found(NamedTuple):
    """Best rows and their scores, best first; both are as long as there were rows to find."""

    rows: Rows
    scores: Matrix


class Part(Protocol):
    """What evaluation and serving need of a part."""

    ids: IdMap

    def search(self, query: Query, k: int, exclude: Rows) -> Found:
        """Return the best ``k`` rows of a query of one user (B = 1), without ``exclude``."""

    def scores(self, query: Query) -> Matrix:
        """Return the scores of all rows, ``(B, n) float32``, exact."""

    def similar(self, row: int, k: int) -> Found:
        """Return the ``k`` rows most alike to ``row``, without itself."""


class VectorsPart:
    """Rows as vectors; the score is the inner product with the query."""

    def __init__(self, ids: IdMap, matrix: Matrix, norms: Matrix, index_path: Path | None) -> None:
        if matrix.ndim != 2 or len(matrix) != len(ids) or len(norms) != len(ids):
            raise SnapshotRefused(
                f"matrix {matrix.shape}, norms {norms.shape} and {len(ids)} ids do not match"
            )
        self.ids, self.matrix, self.norms = ids, matrix, norms
        self._index = _open_index(index_path, matrix.shape) if index_path else None

    def search(self, query: Query, k: int, exclude: Rows) -> Found:
        """See :class:`Part`; uses the index where one is open, exact search otherwise."""
        vector = _vectors(query, self.matrix.shape[1])
        if self._index is None or min(k, len(self.ids)) == 0:  # Faiss asks for at least one
            return top(self.scores(query)[0], k, exclude)
        return self._search_index(vector, k, exclude)

    def _search_index(self, vector: Matrix, k: int, exclude: Rows) -> Found:
        import faiss

        assert self._index is not None
        # Faiss keeps bare pointers: the selectors must live until the search has ended.
        excluded = faiss.IDSelectorBatch(exclude.astype(np.int64))
        allowed = faiss.IDSelectorNot(excluded)
        parameters = faiss.SearchParameters()
        parameters.sel = allowed
        k = min(k, len(self.ids))
        scores, rows = self._index.search(np.ascontiguousarray(vector), k, params=parameters)
        found = rows[0] >= 0
        return Found(rows[0][found].astype(np.int32), scores[0][found])

    def scores(self, query: Query) -> Matrix:
        """See :class:`Part`."""
        return _vectors(query, self.matrix.shape[1]) @ self.matrix.T

    def similar(self, row: int, k: int) -> Found:
        """Cosine between item vectors."""
        norms = np.maximum(self.norms * self.norms[row], 1e-12)
        return top(self.matrix @ self.matrix[row] / norms, k, np.array([row], dtype=np.int32))


class NeighboursPart:
    """Each row's nearest rows, ``(n, K) int32`` padded with -1, and their similarities, ``(n, K) float32``."""

    def __init__(self, ids: IdMap, rows: Rows, similarities: Matrix) -> None:
        if rows.shape != similarities.shape or len(rows) != len(ids):
            raise SnapshotRefused(
                f"neighbours {rows.shape}, similarities {similarities.shape} and {len(ids)} ids do not match"
            )
        self.ids, self.rows, self.similarities = ids, rows, similarities

    def search(self, query: Query, k: int, exclude: Rows) -> Found:
        """See :class:`Part`; rows that no recent item leads to are not found."""
        scores = self.scores(query)[0]
        found = top(scores, k, exclude)
        positive = found.scores > 0
        return Found(found.rows[positive], found.scores[positive])

    def scores(self, query: Query) -> Matrix:
        """Return ``Σ_r weight_r · similarity(r, item)``, ``(B, n)``."""
        if query.rows is None or query.weights is None:
            raise SnapshotRefused("a neighbours part needs weighted rows, the encoder gave a vector")
        total = np.zeros((len(query.rows), len(self.ids)), dtype=np.float32)
        users, columns = np.nonzero((query.rows >= 0) & (query.weights > 0))
        sources = query.rows[users, columns]
        targets = self.rows[sources]  # (pairs, K)
        gains = self.similarities[sources] * query.weights[users, columns, None]
        known = targets >= 0
        flat = np.broadcast_to(users[:, None], targets.shape)[known] * len(self.ids) + targets[known]
        total.ravel()[:] = np.bincount(flat, weights=gains[known], minlength=total.size)
        return total

    def similar(self, row: int, k: int) -> Found:
        """Return the row's stored neighbours."""
        known = self.rows[row] >= 0
        return Found(self.rows[row][known][:k], self.similarities[row][known][:k])


def top(scores: Matrix, k: int, exclude: Rows) -> Found:
    """Return the best ``k`` rows by score without ``exclude``; equal scores go by row."""
    scores = scores.astype(np.float32, copy=True)
    scores[exclude] = -np.inf
    k = min(k, len(scores))
    best = np.argpartition(-scores, k - 1)[:k] if k else np.empty(0, dtype=np.int64)
    best = best[np.lexsort((best, -scores[best]))]
    best = best[np.isfinite(scores[best])]
    return Found(best.astype(np.int32), scores[best])


def _vectors(query: Query, width: int) -> Matrix:
    if query.vectors is None or query.vectors.shape[1] != width:
        raise SnapshotRefused(f"a vectors part of width {width} needs query vectors of that width")
    return query.vectors


def _open_index(path: Path, shape: tuple[int, ...]) -> Any:
    import faiss

    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise SnapshotRefused(f"{path.name} is not a readable index: {str(error)[-200:]}") from error
    if (index.ntotal, index.d) != tuple(shape):
        raise SnapshotRefused(f"{path.name} holds {index.ntotal} x {index.d}, the matrix is {shape}")
    return index


def load(
    kind: str, ids: Mapping[str, NDArray[Any]], arrays: Mapping[str, NDArray[Any]], index: Path | None
) -> VectorsPart | NeighboursPart:
    """Return the part a manifest names."""
    id_map = IdMap(ids)
    try:
        if kind == "vectors":
            return VectorsPart(id_map, arrays["matrix"], arrays["norms"], index)
        if kind == "neighbours":
            return NeighboursPart(id_map, arrays["neighbours"], arrays["similarities"])
    except KeyError as error:
        raise SnapshotRefused(f"the {kind} part lacks its {error.args[0]} file") from error
    raise SnapshotRefused(f'part kind "{kind}" is unknown to this version; upgrade the reader')


def row_array(rows: Sequence[int]) -> Rows:
    """Return known rows (those ≥ 0) as the array that ``exclude`` takes."""
    array = np.asarray(rows, dtype=np.int32)
    return array[array >= 0]
