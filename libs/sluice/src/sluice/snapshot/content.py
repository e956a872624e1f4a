"""What a learner hands over to be cut into a unit."""

from typing import NamedTuple

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


class Histories(NamedTuple):
    """Recent interactions of some users: ``rows (Q, R)`` newest first, -1 = none; ``weights (Q, R)``."""

    rows: Rows
    weights: Matrix


class UnitContent(msgspec.Struct, frozen=True, kw_only=True):
    """What a learner hands over to be cut: parts by name, and the encoder.

    ``histories`` are not written: the index is chosen and measured with what these users would ask.
    """

    parts: dict[str, PartContent]
    encoder: Encoder
    event_weights: dict[str, float] = {}
    histories: Histories | None = None
