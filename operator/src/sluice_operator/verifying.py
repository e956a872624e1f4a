"""Whether a snapshot of the catalog is sound, found out beside the passes: reading it may take minutes."""

import threading
from pathlib import Path
from typing import Final

import structlog

from sluice.catalog import CatalogEntry
from sluice.errors import SnapshotRefused, StorageUnavailable
from sluice.snapshot.store import Origins, SnapshotStore

_LOG = structlog.get_logger()
PATIENCE_S: Final = 0.2
"""How long a pass waits for an answer, which is enough for a small snapshot."""


class VerifiedEntries:
    """Checks each snapshot of the catalog once: files against manifest, manifest against catalog.

    ``store`` is where they lie; without one, where each entry's URI says. One is read at a time, in a thread.
    """

    def __init__(self, store: SnapshotStore | None, home: Path, patience_s: float = PATIENCE_S) -> None:
        self._origins, self._patience_s = Origins(store, home / "copies"), patience_s
        self._known: dict[str, bool] = {}
        self._complaint = ""
        self._reading: tuple[str, threading.Thread] | None = None

    def __call__(self, entry: CatalogEntry) -> bool:
        """Return whether a snapshot is sound; one that is not read yet, or cannot be now, is asked for again."""
        if entry.id not in self._known and self._free(entry.id):
            thread = threading.Thread(target=self._read, args=(entry,), name="verifying", daemon=True)
            self._reading = entry.id, thread
            thread.start()
            self._free(entry.id)
        return self._known.get(entry.id, False)

    def _free(self, snapshot: str) -> bool:
        """Wait for what is read now, not for long; return whether ``snapshot`` is still to be read, and may be."""
        if self._reading is None:
            return True
        self._reading[1].join(self._patience_s)
        if self._reading[1].is_alive():
            return False
        self._reading = None
        return snapshot not in self._known

    def _read(self, entry: CatalogEntry) -> None:
        try:
            self._origins.of(entry).verify(entry.id, entry.digest)
            self._known[entry.id] = True
            self._complaint = ""
        except SnapshotRefused as error:
            self._known[entry.id] = False
            _LOG.error("snapshot refused", snapshot=entry.id, reason=str(error))
        except StorageUnavailable as error:
            if str(error) != self._complaint:  # once, not at every pass
                _LOG.warning("snapshot cannot be read now", snapshot=entry.id, reason=str(error))
            self._complaint = str(error)
