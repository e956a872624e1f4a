"""Encoders: recent interactions in, query out. One meaning, called by evaluation and by serving alike.

An encoder belongs to a snapshot and is a pure function of it. All of them work on batches: ``rows`` is
``(B, R) int32``, newest interaction first, -1 where the user has none or the snapshot lacks the item;
``weights`` is ``(B, R) float32``, the event weights. The column index *is* the age of an interaction
(how many later ones the user has), so unknown items leave a hole and the others keep their age.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from sluice.errors import SnapshotRefused

Rows = NDArray[np.int32]
Matrix = NDArray[np.float32]

RECENT_LIMIT: Final = 50
"""How many of a user's newest interactions profiles keep and encoders read."""


class RecentInteraction(msgspec.Struct, frozen=True, array_like=True):
    """One of a user's newest interactions. ``ts`` is Unix time in milliseconds."""

    item_id: str
    event: str = "view"
    value: float = 1.0
    ts: int | None = None


class Query(NamedTuple):
    """What an encoder makes: a vector for a ``vectors`` part, weighted rows for a ``neighbours`` part.

    ``vectors`` is ``(B, d) float32``; ``rows`` and ``weights`` are ``(B, R)``. The other side is None.
    """

    vectors: Matrix | None = None
    rows: Rows | None = None
    weights: Matrix | None = None


class Encoder(Protocol):
    """Pure function of a snapshot. ``kind`` names it in the manifest."""

    @property
    def kind(self) -> str:
        """Name in the manifest and in the registry below."""

    def parameters(self) -> dict[str, Any]:
        """Return the JSON scalars that make this encoder."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that make this encoder."""

    def encode(self, rows: Rows, weights: Matrix, items: Matrix | None) -> Query:
        """Return the query of each row; ``items`` is the matrix of the ``vectors`` part, if any."""


class RidgeEncoder:
    """Recency-weighted ridge regression towards the mean user (GMF, ALS).

    Solves, per user, ``min_y  Σ_i c_i (t - x_i·y)² + α Σ_all (x·y)² + λ |y - y0|²`` with
    ``c_i = weight_i · decay^age_i``: the fold-in of implicit-feedback ALS (Hu, Koren, Volinsky 2008, eq. 4)
    with a recency weight and a prior mean. ``gram`` is ``XᵀX (d, d)``, ``prior`` is ``y0 (d,)``, ``target``
    is ``t``: 1 where inner products are preferences (ALS), some logits where they are logits (GMF).
    """

    kind = "ridge"

    def __init__(
        self,
        prior: Matrix,
        gram: Matrix,
        *,
        decay: float,
        ridge: float,
        background: float,
        target: float = 1.0,
    ) -> None:
        self.prior, self.gram = prior, gram
        self.decay, self.ridge, self.background, self.target = decay, ridge, background, target
        # What no user changes: α XᵀX + λ I and α XᵀX y0.
        self._base = background * gram + ridge * np.eye(len(prior), dtype=np.float32)
        self._pull = background * (gram @ prior)

    def parameters(self) -> dict[str, Any]:
        """Return decay in (0, 1], ridge λ > 0, background α ≥ 0 and target t > 0."""
        return {
            "decay": self.decay,
            "ridge": self.ridge,
            "background": self.background,
            "target": self.target,
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``prior (d,)`` and ``gram (d, d)``, float32."""
        return {"prior": self.prior, "gram": self.gram}

    def encode(self, rows: Rows, weights: Matrix, items: Matrix | None) -> Query:
        """Return ``vectors (B, d)``; a user without known items gets the prior."""
        if items is None:
            raise SnapshotRefused("a ridge encoder needs a vectors part")
        known = rows >= 0
        vectors = _gathered(items, rows)  # (B, R, d)
        confidence = _aged(weights, known, self.decay)  # (B, R)
        # Solved for the step away from the prior, so that no evidence gives the prior exactly.
        missing = self.target - vectors @ self.prior  # (B, R)
        small = self.background == 0 and vectors.shape[1] < vectors.shape[2]
        step = (self._from_items if small else self._from_all)(vectors, confidence, missing)
        return Query(vectors=np.asarray(self.prior + step, dtype=np.float32))

    def _from_all(self, vectors: Matrix, confidence: Matrix, missing: Matrix) -> Matrix:
        """Return the step ``(B, d)`` by a system of d equations a user."""
        weighted = vectors * confidence[:, :, None]
        left = weighted.transpose(0, 2, 1) @ vectors + self._base  # (B, d, d)
        right = np.einsum("brd,br->bd", weighted, missing)
        right -= self._pull * (confidence.sum(axis=1, keepdims=True) > 0)
        return np.asarray(np.linalg.solve(left, right[:, :, None])[:, :, 0])

    def _from_items(self, vectors: Matrix, confidence: Matrix, missing: Matrix) -> Matrix:
        """Return the same step by R equations: without background it lies in the span of the user's items."""
        left = (vectors @ vectors.transpose(0, 2, 1)) * confidence[:, :, None]  # (B, R, R)
        left += np.float32(self.ridge) * np.eye(vectors.shape[1], dtype=np.float32)
        shares = np.linalg.solve(left, (confidence * missing)[:, :, None])  # (B, R, 1)
        return np.asarray((vectors.transpose(0, 2, 1) @ shares)[:, :, 0])


class MeanEncoder:
    """Mean of the recent items' vectors, weighted ``weight · decay^age`` (item2vec)."""

    kind = "mean"

    def __init__(self, prior: Matrix, *, decay: float) -> None:
        self.prior, self.decay = prior, decay

    def parameters(self) -> dict[str, Any]:
        """Return decay in (0, 1]."""
        return {"decay": self.decay}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``prior (d,) float32``."""
        return {"prior": self.prior}

    def encode(self, rows: Rows, weights: Matrix, items: Matrix | None) -> Query:
        """Return ``vectors (B, d)``; a user without known items gets the prior."""
        if items is None:
            raise SnapshotRefused("a mean encoder needs a vectors part")
        known = rows >= 0
        confidence = _aged(weights, known, self.decay)
        total = confidence.sum(axis=1, keepdims=True)
        mean = np.einsum("br,brd->bd", confidence, _gathered(items, rows)) / np.maximum(total, 1e-12)
        return Query(vectors=np.where(total > 0, mean, self.prior).astype(np.float32))


class ConstantEncoder:
    """The same query for everybody (Popular)."""

    kind = "constant"

    def __init__(self, prior: Matrix) -> None:
        self.prior = prior

    def parameters(self) -> dict[str, Any]:
        """Return nothing: the prior says it all."""
        return {}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return ``prior (d,) float32``."""
        return {"prior": self.prior}

    def encode(self, rows: Rows, weights: Matrix, items: Matrix | None) -> Query:
        """Return the prior for each row, ``vectors (B, d)``."""
        return Query(vectors=np.broadcast_to(self.prior, (len(rows), len(self.prior))))


class NeighboursEncoder:
    """Recent items weighted ``weight · decay^age``, to be looked up in a ``neighbours`` part."""

    kind = "neighbours"

    def __init__(self, *, decay: float) -> None:
        self.decay = decay

    def parameters(self) -> dict[str, Any]:
        """Return decay in (0, 1]."""
        return {"decay": self.decay}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return nothing."""
        return {}

    def encode(self, rows: Rows, weights: Matrix, items: Matrix | None) -> Query:
        """Return ``rows (B, R)`` and ``weights (B, R)``, 0 where unknown."""
        return Query(rows=rows, weights=_aged(weights, rows >= 0, self.decay))


def _gathered(items: Matrix, rows: Rows) -> Matrix:
    """Return the vectors of ``rows``, any where unknown (their confidence is 0)."""
    if not len(items):
        return np.zeros((*rows.shape, items.shape[1]), dtype=np.float32)
    return items[np.maximum(rows, 0)]


def _aged(weights: Matrix, known: NDArray[np.bool_], decay: float) -> Matrix:
    ages = np.arange(weights.shape[1], dtype=np.float32)
    return np.where(known, weights * np.float32(decay) ** ages, np.float32(0))


def event_weight(weights: Mapping[str, float], event: str, value: float) -> float:
    """Return what one interaction counts: the weight of its kind (1 if unlisted) times its value."""
    return weights.get(event, 1.0) * value


def weigh(recent: Sequence[RecentInteraction], weights: Mapping[str, float]) -> Matrix:
    """Return the event weights of ``recent`` as ``(1, R) float32``."""
    return np.array([[event_weight(weights, each.event, each.value) for each in recent]], dtype=np.float32)


def restore(kind: str, parameters: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Encoder:
    """Return the encoder a manifest names; raises :class:`SnapshotRefused` for a kind or shape unknown here."""
    try:
        if kind == RidgeEncoder.kind:
            return RidgeEncoder(arrays["prior"], arrays["gram"], **parameters)
        if kind == MeanEncoder.kind:
            return MeanEncoder(arrays["prior"], **parameters)
        if kind == ConstantEncoder.kind:
            return ConstantEncoder(arrays["prior"])
        if kind == NeighboursEncoder.kind:
            return NeighboursEncoder(**parameters)
    except (KeyError, TypeError) as error:
        raise SnapshotRefused(f"the encoder {kind} lacks or exceeds its parameters: {error}") from error
    raise SnapshotRefused(f'encoder kind "{kind}" is unknown to this version; upgrade the reader')
