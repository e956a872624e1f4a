"""The IndexSnapshot: a snapshot of a model's catalog as a Kubernetes object, for people and for rolling back.

It carries where the snapshot lies and what it is known by, so that finding one again needs no database. The types
are the source of its CRD (:mod:`sluice.crd`). Nothing in it may change: another snapshot is another object.
"""

import math
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from sluice.catalog import CatalogEntry
from sluice.model import Decimal, Name, Spec

KIND: Final = "IndexSnapshot"
SHORT: Final = 12
"""Characters of a digest that people tell snapshots apart by."""
_MOST: Final = 32
_LARGEST: Final = 10.0**12
_METRIC: Final = 64

Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$", max_length=64)]
Whole = Annotated[int, Meta(ge=0, le=1 << 53)]


class IndexSnapshotSpec(Spec, frozen=True):
    """A snapshot: ``digest`` is the sha256 of its manifest, ``metrics`` are decimals."""

    model: Name
    snapshot: Name
    uri: Annotated[str, Meta(min_length=1, max_length=2048)]
    digest: Digest
    algorithm: Annotated[str, Meta(max_length=63)]
    parent: Name | None = None
    spec_hash: Annotated[str, Meta(max_length=64)] = ""
    epoch: Whole = 0
    created: Annotated[str, Meta(max_length=32)] = ""
    interactions: Whole = 0
    bytes: Whole = 0
    metrics: Annotated[dict[str, Decimal], Meta(max_length=_MOST)] = msgspec.field(default_factory=dict)


class SnapshotPhase(StrEnum):
    """What a snapshot is to the rollout."""

    VERIFIED = "Verified"  # its files are what its manifest says; nothing was decided about it
    CANDIDATE = "Candidate"
    STABLE = "Stable"
    PROMOTED = "Promoted"  # was stable before, and can be rolled back to
    ABORTED = "Aborted"
    RELEASED = "Released"  # the trainer may delete it


def spec_of(model: str, entry: CatalogEntry) -> IndexSnapshotSpec:
    """Return an entry of the catalog of ``model`` as the spec of its object."""
    return IndexSnapshotSpec(
        model=model,
        snapshot=entry.id,
        uri=entry.uri,
        digest=entry.digest,
        algorithm=entry.algorithm,
        parent=entry.parent,
        spec_hash=entry.spec_hash,
        epoch=entry.epoch,
        created=datetime.fromtimestamp(entry.created, UTC).isoformat(timespec="seconds"),
        interactions=entry.interactions,
        bytes=entry.bytes,
        metrics=_decimals(entry.metrics),
    )


def _decimals(metrics: dict[str, float]) -> dict[str, str]:
    """Return metrics as decimals, without those that are none (a mean of nothing)."""
    known = [(name, value) for name, value in sorted(metrics.items()) if len(name) <= _METRIC]
    return {name: _decimal(value) for name, value in known if math.isfinite(value) and abs(value) < _LARGEST}


def _decimal(value: float) -> str:
    """Return a number with at most nine digits after its point.

    >>> [_decimal(value) for value in (0.5, 1e-12, -3.0, 1000.0)]
    ['0.5', '0', '-3', '1000']
    """
    written = f"{value:.9f}".rstrip("0").rstrip(".")
    return "0" if written == "-0" else written
