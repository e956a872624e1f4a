"""Between a unit's directory and its catalog entry."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from sluice.catalog import CatalogEntry
from sluice.errors import SnapshotRefused
from sluice.snapshot import manifest
from sluice.snapshot.manifest import Manifest


def entry_of(directory: Path, made: Manifest, epoch: int) -> CatalogEntry:
    """Return the entry of the unit written to the absolute ``directory`` by the trainer of ``epoch``."""
    return CatalogEntry(
        id=made.id,
        uri=directory.as_uri(),
        digest=manifest.digest(directory / manifest.MANIFEST),
        parent=made.parent,
        algorithm=made.algorithm,
        spec_hash=made.spec_hash,
        epoch=epoch,
        created=made.created,
        interactions=made.interactions,
        bytes=made.bytes,
        metrics=made.metrics,
    )


def path_of(entry: CatalogEntry) -> Path:
    """Return where an entry's files lie; raises :class:`SnapshotRefused` for a URI that is no file's."""
    parts = urlsplit(entry.uri)
    if parts.scheme not in ("", "file"):
        raise SnapshotRefused(f"{entry.id} lies at a {parts.scheme} URI; this version reads file only")
    return Path(unquote(parts.path))
