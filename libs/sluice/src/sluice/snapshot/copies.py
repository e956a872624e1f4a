"""Copies of snapshots on this machine, of a store that lies elsewhere: the few used last, one process's own."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sluice.errors import SnapshotRefused, StorageUnavailable
from sluice.snapshot.locked import locked
from sluice.snapshot.manifest import Manifest
from sluice.snapshot.verify import verify

KEPT: Final = 4
"""Stable, candidate, the parent of the next cut and one to spare; those still mapped live on until unmapped."""

_INCOMING: Final = ".incoming"
_OUTGOING: Final = ".outgoing"


class Copies:
    """``folder`` holds ``<id>`` for each copy, and beside them what is being fetched or made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, snapshot: str) -> Path:
        """Return where a copy lies or would."""
        return self._folder / snapshot

    def open(self, snapshot: str, digest: str | None, fetch: Callable[[Path], None]) -> Path:
        """Return a verified copy; ``fetch`` brings it into a folder if there is none or it is unsound."""
        try:
            with locked(self._folder):
                copy = self.path(snapshot)
                if not self._sound(copy, digest):
                    self._fetch(copy, digest, fetch)
                os.utime(copy)
                self._prune()
                return copy
        except OSError as error:
            raise StorageUnavailable(
                f"{snapshot} cannot be copied: {error.strerror}; free the disk below SLUICE_HOME"
            ) from error

    def make(self, snapshot: str, write: Callable[[Path], Manifest]) -> Manifest:
        """Let ``write`` make a snapshot that is to be uploaded; raises :class:`StorageUnavailable` if it cannot."""
        shutil.rmtree(self._folder / _OUTGOING, ignore_errors=True)  # of a process that died over it
        try:
            return write(self.made(snapshot))
        except OSError as error:
            raise StorageUnavailable(
                f"{snapshot} cannot be written: {error.strerror}; free the disk below SLUICE_HOME"
            ) from error

    def made(self, snapshot: str) -> Path:
        """Return where :meth:`make` lets a snapshot be written."""
        return self._folder / _OUTGOING / snapshot

    def adopt(self, snapshot: str) -> None:
        """Keep what was made, now that it is uploaded, as a copy; without the lock: a fetch may hold it long."""
        self.drop(snapshot)
        self.made(snapshot).rename(self.path(snapshot))
        self._prune()

    def drop(self, snapshot: str) -> None:
        """Delete a copy, if there is one."""
        shutil.rmtree(self.path(snapshot), ignore_errors=True)

    def _sound(self, copy: Path, digest: str | None) -> bool:
        try:
            verify(copy, digest)
        except SnapshotRefused:
            shutil.rmtree(copy, ignore_errors=True)
            return False
        return True

    def _fetch(self, copy: Path, digest: str | None, fetch: Callable[[Path], None]) -> None:
        incoming = self._folder / _INCOMING / copy.name
        shutil.rmtree(incoming.parent, ignore_errors=True)  # of a process that died over it
        try:
            incoming.mkdir(parents=True)
            fetch(incoming)
            verify(incoming, digest)
            incoming.rename(copy)
        finally:
            shutil.rmtree(incoming.parent, ignore_errors=True)

    def _prune(self) -> None:
        copies = [each for each in self._folder.iterdir() if each.name[0] != "."]
        for copy in sorted(copies, key=_used, reverse=True)[KEPT:]:
            shutil.rmtree(copy, ignore_errors=True)


def _used(copy: Path) -> float:
    try:
        return copy.stat().st_mtime
    except FileNotFoundError:  # another process has just deleted it
        return 0.0
