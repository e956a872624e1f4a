"""Fidelity: how much of the exact top an index finds, asked with what users ask."""

from typing import Final

import numpy as np

from sluice.encoder import Matrix, Query
from sluice.snapshot.content import Histories
from sluice.snapshot.parts import VectorsPart
from sluice.snapshot.unit import Unit

K: Final = 20
QUERIES: Final = 256
_CHUNK: Final = 16_384
_TOLERANCE: Final = 1e-5


def spread(items: int) -> Histories:
    """Return histories of one interaction each, spread over the catalogue: what is asked before anyone asks."""
    rows = np.unique(np.linspace(0, items - 1, min(items, QUERIES)).astype(np.int32))[:, None]
    return Histories(rows, np.ones(rows.shape, dtype=np.float32))


def fidelity(unit: Unit, histories: Histories | None) -> dict[str, float]:
    """Return ``indexRecall``: the share of the exact top 20 that a unit finds, in [0, 1].

    Asked through the unit's own reader; without histories, those of :func:`spread`.
    """
    if not isinstance(unit.items, VectorsPart) or unit.items.index is None or not len(unit.items.ids):
        return {"indexRecall": 1.0}  # searched exactly
    asked = spread(len(unit.items.ids)) if histories is None else histories
    vectors = unit.encode_rows(asked.rows, asked.weights).vectors
    assert vectors is not None  # the encoder of a vectors part makes vectors
    nothing = np.empty(0, dtype=np.int32)
    found = [unit.items.search(Query(vectors=each[None, :]), K, nothing).rows for each in vectors]
    scores = np.stack(
        [_padded(unit.items.matrix[rows] @ each) for rows, each in zip(found, vectors, strict=True)]
    )
    return {"indexRecall": recall(scores, kth_scores(unit.items.matrix, vectors))}


def kth_scores(matrix: Matrix, vectors: Matrix) -> Matrix:
    """Return the exact 20th greatest score of each of ``vectors (Q, d)``, ``(Q,)``: read in chunks of rows."""
    k = min(K, len(matrix))
    greatest = np.full((len(vectors), k), -np.inf, dtype=np.float32)
    for start in range(0, len(matrix), _CHUNK):
        scores = np.hstack([greatest, vectors @ matrix[start : start + _CHUNK].T])
        greatest = np.partition(scores, scores.shape[1] - k, axis=1)[:, -k:]
    least: Matrix = greatest.min(axis=1)
    return least


def recall(scores: Matrix, least: Matrix) -> float:
    """Return the share of the exact top in ``scores (Q, K)``, by score: rows of equal score are equally right.

    ``least (Q,)`` is the exact K-th score.
    """
    bounds = least - np.float32(_TOLERANCE) * np.maximum(1.0, np.abs(least))
    return float((scores >= bounds[:, None]).mean())


def _padded(scores: Matrix) -> Matrix:
    return np.pad(scores, (0, K - len(scores)), constant_values=-np.inf)
