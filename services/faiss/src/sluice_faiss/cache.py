"""Local copies of snapshots: admitted, copied under a temporary name, verified once, then renamed.

All workers of a pod share the folder, and the mapped pages; a file lock lets one of them admit and copy while
the others wait. ``<id>`` is a copy, ``<id>.verified`` beside it holds the digest it was verified against and
the boot it happened in: what a power cut left behind is verified again where it lies. Nobody else may
write here: a mapped file that is cut short kills the process that reads it.
"""

import shutil
import time
from collections.abc import Callable, Set
from pathlib import Path
from typing import Final

from sluice.catalog import CatalogEntry
from sluice.errors import SnapshotRefused, StorageUnavailable
from sluice.snapshot.folder import FULL
from sluice.snapshot.locked import locked
from sluice.snapshot.manifest import MANIFEST, Manifest
from sluice.snapshot.store import Origins, SnapshotStore
from sluice.snapshot.verify import verify
from sluice_faiss.memory import UNBOUND, Memory

_VERIFIED: Final = ".verified"
_INCOMING: Final = ".incoming"
_OPENED: Final = ".opened"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_REST_S: Final = 0.001

Keep = Callable[[], Set[str]]
"""Names the copies to keep: what is wanted or serves now."""


class Cache:
    """``store`` is what snapshots are copied from; None takes each one's URI."""

    def __init__(self, folder: Path, store: SnapshotStore | None, memory: Memory = UNBOUND) -> None:
        self._folder, self._memory = folder, memory
        self._origins = Origins(store, folder / _OPENED)

    def fetch(self, entry: CatalogEntry, keep: Keep) -> Path:
        """Return the verified copy of ``entry``; where it does not fit, copies outside ``keep`` go.

        Raises :class:`SnapshotRefused` if it is unsound or does not fit, :class:`StorageUnavailable` if the store
        cannot be read now.
        """
        with locked(self._folder):
            copy = self._folder / entry.id
            if not self._is_verified(copy, entry.digest) and not self._reverified(copy, entry.digest):
                origin = self._origins.of(entry)
                made = origin.survey(entry.id, entry.digest)
                self._admit(entry.id, made.bytes, keep)
                self._copy(origin, copy, made, entry.digest)
            return copy

    def prune(self, keep: Keep) -> None:
        """Delete every copy that is not in ``keep``; those still mapped live on until they are unmapped."""
        with locked(self._folder):
            self._prune(keep)

    def _prune(self, keep: Keep) -> None:
        kept = keep()  # asked under the lock: another worker may have copied what it wanted meanwhile
        for copy in self._copies():
            if copy.name not in kept:
                self._note(copy).unlink(missing_ok=True)
                shutil.rmtree(copy, ignore_errors=True)

    def forget(self, snapshot: str) -> None:
        """Trust a copy no longer: the next fetch verifies it again, and copies it again if it is unsound."""
        self._note(self._folder / snapshot).unlink(missing_ok=True)

    def held(self) -> int:
        """Return how many bytes the copies take, counted as a snapshot's own: all files but the manifest."""
        return sum(map(_size, self._copies()))

    def headroom(self) -> int:
        """Return how many bytes a further snapshot may take."""
        return self._memory.headroom(self.held())

    def _copies(self) -> list[Path]:
        try:
            return [each for each in self._folder.iterdir() if each.is_dir() and each.name[0] != "."]
        except FileNotFoundError:
            return []

    def _admit(self, snapshot: str, needed: int, keep: Keep) -> None:
        """Refuse what does not fit into memory or onto the disk, counted once for all workers."""
        if self._missing(needed)[1] > 0:
            self._prune(keep)
        kind, missing, left = self._missing(needed)
        if missing > 0:
            raise SnapshotRefused(
                f"{snapshot} needs {needed} bytes of {kind}, has {left}, {missing} bytes are missing;"
                " give the pod more or want fewer snapshots"
            )

    def _missing(self, needed: int) -> tuple[str, int, int]:
        """Return of which kind the most bytes are missing, how many, and how many are left."""
        left = {"memory": self.headroom(), "disk": shutil.disk_usage(self._folder).free}
        kind = min(left, key=lambda each: left[each])
        return kind, needed - left[kind], left[kind]

    def _note(self, copy: Path) -> Path:
        return copy.with_name(copy.name + _VERIFIED)

    def _is_verified(self, copy: Path, digest: str) -> bool:
        note = self._note(copy)
        return copy.is_dir() and note.is_file() and note.read_text() == _seal(digest)

    def _reverified(self, copy: Path, digest: str) -> bool:
        """Verify a copy where it lies; an unsound one goes, so that its successor is not counted beside it."""
        if not copy.is_dir():
            return False
        try:
            verify(copy, digest, _rest)
        except (SnapshotRefused, StorageUnavailable):
            shutil.rmtree(copy)
            return False
        self._note_verified(copy, digest)
        return True

    def _note_verified(self, copy: Path, digest: str) -> None:
        note = self._note(copy)
        temporary = note.with_name(f".{note.name}.tmp")
        temporary.write_text(_seal(digest))
        temporary.rename(note)

    def _copy(self, origin: SnapshotStore, copy: Path, made: Manifest, digest: str) -> None:
        shutil.rmtree(self._folder / _INCOMING, ignore_errors=True)  # what a killed worker left
        incoming = self._folder / _INCOMING / copy.name
        try:
            incoming.mkdir(parents=True)
            origin.fetch(made, incoming, _rest)
            verify(incoming, digest, _rest)
            incoming.rename(copy)
            self._note_verified(copy, digest)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise SnapshotRefused(
                f"{copy.name} cannot be copied: {error.strerror}; free the disk of the cache"
            ) from error
        finally:
            shutil.rmtree(self._folder / _INCOMING, ignore_errors=True)


def _rest() -> None:
    """Leave the cores to searches for about as long as a MiB took."""
    time.sleep(_REST_S)


def _size(copy: Path) -> int:
    try:
        return sum(file.stat().st_size for file in copy.iterdir() if file.name != MANIFEST)
    except FileNotFoundError:  # another worker has just deleted it
        return 0


def _seal(digest: str) -> str:
    """Return what a note says: a copy's digest, and the boot since which its bytes are known to be there."""
    try:
        return f"{digest} {_BOOT.read_text().strip()}"
    except OSError:
        return digest
