"""Verification: every file present, every size and checksum right, nothing else in the directory.

Faiss itself loads bit-flipped files without a word, so this is the only guard. Done once per copy.
"""

from collections.abc import Callable
from pathlib import Path

from sluice.errors import SnapshotRefused, StorageUnavailable
from sluice.snapshot import manifest
from sluice.snapshot.manifest import Manifest


def verify(directory: Path, digest: str | None = None, rest: Callable[[], None] | None = None) -> Manifest:
    """Return the manifest of a sound unit; raises :class:`SnapshotRefused` with the first thing wrong.

    ``digest`` is the manifest's sha256 as the catalog has it; None trusts the manifest itself. Raises
    :class:`StorageUnavailable` if the files cannot be read now, which says nothing about the unit. ``rest``
    is called after each MiB read, by who has better things to do beside.
    """
    try:
        made = _survey(directory, digest)
        for name, file in made.files.items():
            if manifest.digest(directory / name, rest) != file.sha256:
                raise SnapshotRefused(f"{name} of {made.id} has a wrong checksum; copy the snapshot again")
        return made
    except OSError as error:
        raise StorageUnavailable(f"{directory.name} cannot be read now: {error.strerror}") from error


def survey(directory: Path, digest: str | None = None) -> Manifest:
    """Do what :func:`verify` does, but for the checksums: worth asking before anything large is read."""
    try:
        return _survey(directory, digest)
    except OSError as error:
        raise StorageUnavailable(f"{directory.name} cannot be read now: {error.strerror}") from error


def _survey(directory: Path, digest: str | None) -> Manifest:
    made = manifest.read(directory)
    if digest is not None and manifest.digest(directory / manifest.MANIFEST) != digest:
        raise SnapshotRefused(
            f"the manifest of {directory.name} is not the one in the catalog; copy it again"
        )
    if made.id != directory.name:
        raise SnapshotRefused(f"directory {directory.name} holds snapshot {made.id}; restore the right files")
    present = {path.name for path in directory.iterdir()} - {manifest.MANIFEST}
    for name in sorted(present - set(made.files)):
        raise SnapshotRefused(f"{name} of {made.id} is not in its manifest; remove it")
    for name, file in made.files.items():
        if Path(name).name != name:
            raise SnapshotRefused(f'"{name}" of {made.id} is a path; a manifest names files of its directory')
        _check(directory / name, file, made.id)
    return made


def _check(path: Path, file: manifest.File, snapshot: str) -> None:
    if not path.is_file():
        raise SnapshotRefused(f"{path.name} of {snapshot} is missing; copy the snapshot again")
    size = path.stat().st_size
    if size != file.bytes:
        raise SnapshotRefused(
            f"{path.name} of {snapshot} has {size} bytes instead of {file.bytes}; copy the snapshot again"
        )
