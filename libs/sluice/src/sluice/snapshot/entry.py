"""From a unit to its catalog entry."""

from pathlib import Path

from sluice.catalog import CatalogEntry
from sluice.snapshot.manifest import Manifest, digest_of


def entry_of(place: Path | str, made: Manifest, epoch: int) -> CatalogEntry:
    """Return the entry of the unit written to ``place``, an absolute folder or a URI, by the trainer of ``epoch``."""
    return CatalogEntry(
        id=made.id,
        uri=place.as_uri() if isinstance(place, Path) else place,
        digest=digest_of(made),
        parent=made.parent,
        algorithm=made.algorithm,
        spec_hash=made.spec_hash,
        epoch=epoch,
        created=made.created,
        interactions=made.interactions,
        bytes=made.bytes,
        metrics=made.metrics,
    )
