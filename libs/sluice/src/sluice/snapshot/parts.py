"""Parts of a unit: ``vectors`` and ``neighbours``.

``vectors`` is a matrix, ids, and a Faiss index where there are many rows; ``neighbours`` is the nearest rows
of each row, and ids. Both answer two questions about a query: the best ``k`` rows of those allowed (serving),
and the scores of all rows (evaluation).
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from sluice.encoder import Matrix, Query, Rows
from sluice.errors import SnapshotRefused
from sluice.snapshot.ids import IdMap
from sluice.snapshot.index import Index
from sluice.snapshot.selection import Found, Mask, best, hide, remaining, scores_of, top

_PAGE: Final = 4096


class Part(Protocol):
    """What evaluation and serving need of a part.

    In every search a row in ``exclude`` or with ``blocked[row]`` is never found (a mask is not changed once it
    was given: what is made of it is kept); ``only`` (rows, ascending) restricts the search to those, which are
    then scored exactly. Never fewer than ``min(k, rows left)`` are
    found, except where a ``neighbours`` part knows of no more.
    """

    ids: IdMap

    def search(
        self, query: Query, k: int, exclude: Rows, *, blocked: Mask | None = None, only: Rows | None = None
    ) -> Found:
        """Return the best ``k`` rows of a query of one user (B = 1)."""

    def scores(self, query: Query) -> Matrix:
        """Return the scores of all rows, ``(B, n) float32``, exact."""

    def similar(
        self, row: int, k: int, exclude: Rows, *, blocked: Mask | None = None, only: Rows | None = None
    ) -> Found:
        """Return the ``k`` rows most alike to ``row``, without itself."""

    def warm(self) -> None:
        """Touch every page that searches read."""


class VectorsPart:
    """Rows as vectors; the score is the inner product with the query."""

    def __init__(self, ids: IdMap, matrix: Matrix, norms: Matrix, index: Index | None) -> None:
        if matrix.ndim != 2 or len(matrix) != len(ids) or len(norms) != len(ids):
            raise SnapshotRefused(
                f"matrix {matrix.shape}, norms {norms.shape} and {len(ids)} ids do not match"
            )
        self.ids, self.matrix, self.norms, self.index = ids, matrix, norms, index

    def search(
        self, query: Query, k: int, exclude: Rows, *, blocked: Mask | None = None, only: Rows | None = None
    ) -> Found:
        """See :class:`Part`; where there is an index and it finds enough, its answer, else exact search."""
        vector, k = _vectors(query, self.matrix.shape[1])[0], min(k, len(self.ids))
        if only is not None:
            return self._among(vector, k, remaining(only, exclude, blocked))
        if self.index is not None and k > 0:
            found = self.index.search(vector, k, exclude, blocked)
            if len(found.rows) == k:
                return found
        scores = self.matrix @ vector
        hide(scores, exclude, blocked)
        return best(scores, k)

    def _among(self, vector: Matrix, k: int, rows: Rows) -> Found:
        found = best(scores_of(self.matrix, rows, vector), k)
        return Found(rows[found.rows], found.scores)

    def scores(self, query: Query) -> Matrix:
        """See :class:`Part`."""
        return _vectors(query, self.matrix.shape[1]) @ self.matrix.T

    def warm(self) -> None:
        """See :class:`Part`."""
        touch(self.matrix)
        if self.index is not None:
            self.index.warm()

    def similar(
        self, row: int, k: int, exclude: Rows, *, blocked: Mask | None = None, only: Rows | None = None
    ) -> Found:
        """Cosine between vectors, exact."""
        exclude = np.append(exclude, np.int32(row))
        if only is not None:
            rows = remaining(only, exclude, blocked)
            found = best(self._cosines(row, rows), k)
            return Found(rows[found.rows], found.scores)
        scores = self._cosines(row, None)
        hide(scores, exclude, blocked)
        return best(scores, k)

    def _cosines(self, row: int, rows: Rows | None) -> Matrix:
        vector = self.matrix[row]
        scores: Matrix = self.matrix @ vector if rows is None else scores_of(self.matrix, rows, vector)
        norms = self.norms if rows is None else self.norms[rows]
        scores /= np.maximum(norms * self.norms[row], np.float32(1e-12))
        return scores


class NeighboursPart:
    """Each row's nearest rows, ``(n, K) int32`` padded with -1, and their similarities, ``(n, K) float32``."""

    def __init__(self, ids: IdMap, rows: Rows, similarities: Matrix) -> None:
        if rows.ndim != 2 or rows.shape != similarities.shape or len(rows) != len(ids):
            raise SnapshotRefused(
                f"neighbours {rows.shape}, similarities {similarities.shape} and {len(ids)} ids do not match"
            )
        self.ids, self.rows, self.similarities = ids, rows, similarities

    def search(
        self, query: Query, k: int, exclude: Rows, *, blocked: Mask | None = None, only: Rows | None = None
    ) -> Found:
        """See :class:`Part`; rows that no recent item leads to are not found."""
        scores = self.scores(query)[0]
        if only is not None:
            rows = remaining(only, exclude, blocked)
            found = best(scores[rows], k)
            found = Found(rows[found.rows], found.scores)
        else:
            found = top(scores, k, exclude, blocked)
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

    def warm(self) -> None:
        """See :class:`Part`."""
        touch(self.rows)
        touch(self.similarities)

    def similar(
        self, row: int, k: int, exclude: Rows, *, blocked: Mask | None = None, only: Rows | None = None
    ) -> Found:
        """Return the row's stored neighbours."""
        rows = self.rows[row]
        allowed = rows >= 0
        allowed &= ~np.isin(rows, np.append(exclude, np.int32(row)))
        if blocked is not None:
            allowed &= ~blocked[rows]
        if only is not None:
            allowed &= np.isin(rows, only)
        return Found(rows[allowed][:k], self.similarities[row][allowed][:k])


def touch(array: NDArray[Any]) -> None:
    """Read a byte of every page of a mapped array; other threads go on meanwhile."""
    array.reshape(-1).view(np.uint8)[::_PAGE].max(initial=0)


def _vectors(query: Query, width: int) -> Matrix:
    if query.vectors is None or query.vectors.shape[1] != width:
        raise SnapshotRefused(f"a vectors part of width {width} needs query vectors of that width")
    return query.vectors


def load(
    kind: str, ids: Mapping[str, NDArray[Any]], arrays: Mapping[str, NDArray[Any]], index: Index | None
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
