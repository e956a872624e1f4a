"""Local copies of snapshots: copied under a temporary name, verified once, then renamed.

All workers of a pod share the folder; a file lock lets one of them copy and the others wait. ``<id>`` is a
copy, ``<id>.verified`` beside it holds the digest it was verified against.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path

from sluice.catalog import CatalogEntry
from sluice.errors import SnapshotRefused
from sluice.snapshot.entry import path_of
from sluice.snapshot.verify import verify

_VERIFIED = ".verified"
_INCOMING = ".incoming"


class Cache:
    """``store`` is the folder snapshots are copied from; None takes each one's URI."""

    def __init__(self, folder: Path, store: Path | None) -> None:
        self._folder, self._store = folder, store

    def fetch(self, entry: CatalogEntry) -> Path:
        """Return the verified copy of ``entry``; raises :class:`SnapshotRefused` or OSError (disk full)."""
        with self._locked():
            copy = self._folder / entry.id
            if not self._is_verified(copy, entry.digest):
                self._copy(self._origin(entry), copy, entry.digest)
            return copy

    def prune(self, keep: Set[str]) -> None:
        """Delete every copy that is not in ``keep``; those still mapped live on until they are unmapped."""
        with self._locked():
            for copy in self._folder.glob(f"*{_VERIFIED}"):
                snapshot = copy.name.removesuffix(_VERIFIED)
                if snapshot not in keep:
                    copy.unlink(missing_ok=True)
                    shutil.rmtree(self._folder / snapshot, ignore_errors=True)

    def forget(self, snapshot: str) -> None:
        """Trust a copy no longer: the next fetch copies it again."""
        (self._folder / f"{snapshot}{_VERIFIED}").unlink(missing_ok=True)

    def _origin(self, entry: CatalogEntry) -> Path:
        return path_of(entry) if self._store is None else self._store / entry.id

    def _is_verified(self, copy: Path, digest: str) -> bool:
        note = copy.with_name(copy.name + _VERIFIED)
        return copy.is_dir() and note.is_file() and note.read_text() == digest

    def _copy(self, origin: Path, copy: Path, digest: str) -> None:
        incoming = self._folder / _INCOMING / copy.name
        shutil.rmtree(incoming, ignore_errors=True)
        if not origin.is_dir():
            raise SnapshotRefused(f"{copy.name} is not in the store; restore it or cut a new one")
        try:
            incoming.mkdir(parents=True)
            for file in sorted(origin.iterdir()):
                shutil.copyfile(file, incoming / file.name)
            verify(incoming, digest)
            shutil.rmtree(copy, ignore_errors=True)
            incoming.rename(copy)
        except BaseException:
            shutil.rmtree(incoming, ignore_errors=True)
            raise
        note = copy.with_name(copy.name + _VERIFIED)
        temporary = note.with_name(f".{note.name}.tmp")
        temporary.write_text(digest)
        temporary.rename(note)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
