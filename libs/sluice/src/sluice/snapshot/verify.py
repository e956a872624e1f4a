"""Verification: every file present, every size and checksum right, nothing else in the directory.

Faiss itself loads bit-flipped files without a word, so this is the only guard. Done once per copy.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from sluice.errors import SluiceError, SnapshotRefused, StorageUnavailable
from sluice.snapshot import manifest
from sluice.snapshot.manifest import Manifest


def missing(snapshot: str, held: Collection[str]) -> SluiceError:
    """Return the error for a snapshot that is not in a store, which holds ``held``."""
    if held:
        return SnapshotRefused(f"{snapshot} is not in the store; restore it or cut a new one")
    return StorageUnavailable(
        f"the store is empty although {snapshot} is named; mount its volume or correct SLUICE_STORE"
    )


def verify(directory: Path, digest: str | None = None, rest: Callable[[], None] | None = None) -> Manifest:
    """Return the manifest of a sound unit; raises :class:`SnapshotRefused` with the first thing wrong.

    ``digest`` is the manifest's sha256 as the catalog has it; None trusts the manifest itself. Raises
    :class:`StorageUnavailable` if the files cannot be read now, which says nothing about the unit. ``rest``
    is called after each MiB read, by who has better things to do beside.
    """
    try:
        made = _survey(directory, digest)
        for name in made.files:
            check_digest(made, name, manifest.digest(directory / name, rest))
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
    made = check_manifest(manifest.load(directory), directory.name, digest)
    check_sizes(made, {path.name: _size(path) for path in directory.iterdir()})
    return made


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def check_manifest(data: bytes, snapshot: str, digest: str | None) -> Manifest:
    """Return what ``data``, the bytes of a ``manifest.json``, says of ``snapshot``, if it is the right one."""
    made = manifest.decode(data, snapshot)
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise SnapshotRefused(f"the manifest of {snapshot} is not the one in the catalog; copy it again")
    if made.id != snapshot:
        raise SnapshotRefused(f"directory {snapshot} holds snapshot {made.id}; restore the right files")
    return made


def check_sizes(made: Manifest, sizes: Mapping[str, int | None]) -> None:
    """Refuse a unit whose files are not those of its manifest; ``sizes`` is of all names, None = not a file."""
    for name in sorted(sizes.keys() - made.files.keys() - {manifest.MANIFEST}):
        raise SnapshotRefused(f"{name} of {made.id} is not in its manifest; remove it")
    for name, file in made.files.items():
        if Path(name).name != name:
            raise SnapshotRefused(f'"{name}" of {made.id} is a path; a manifest names files of its directory')
        size = sizes.get(name)
        if size is None:
            raise SnapshotRefused(f"{name} of {made.id} is missing; copy the snapshot again")
        if size != file.bytes:
            raise SnapshotRefused(
                f"{name} of {made.id} has {size} bytes instead of {file.bytes}; copy the snapshot again"
            )


def check_digest(made: Manifest, name: str, sha256: str) -> None:
    """Refuse a unit one of whose files has another checksum than its manifest says."""
    if made.files[name].sha256 != sha256:
        raise SnapshotRefused(f"{name} of {made.id} has a wrong checksum; copy the snapshot again")
