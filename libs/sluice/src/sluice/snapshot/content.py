"""What a learner hands over to be cut into a unit."""

import msgspec

from sluice.encoder import Encoder, Matrix, Rows


class VectorsContent(msgspec.Struct, frozen=True, kw_only=True):
    """``matrix (n, d) float32``, row i belongs to ``identifiers[i]``."""

    identifiers: list[str]
    matrix: Matrix
    entity: str = "items"


class NeighboursContent(msgspec.Struct, frozen=True, kw_only=True):
    """``rows (n, K) int32`` padded with -1 and ``similarities (n, K) float32``, best first."""

    identifiers: list[str]
    rows: Rows
    similarities: Matrix
    entity: str = "items"


PartContent = VectorsContent | NeighboursContent


class UnitContent(msgspec.Struct, frozen=True, kw_only=True):
    """What a learner hands over to be cut: parts by name, and the encoder."""

    parts: dict[str, PartContent]
    encoder: Encoder
    event_weights: dict[str, float] = {}
