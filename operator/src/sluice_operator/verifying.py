"""Whether a snapshot of the catalog is sound, found out beside the passes: reading it may take minutes."""

import threading
import time
from pathlib import Path
from typing import Final

import structlog

from sluice.catalog import CatalogEntry
from sluice.errors import SnapshotRefused, StorageUnavailable
from sluice.snapshot.store import Origins, SnapshotStore
from sluice_operator.news import News

_LOG = structlog.get_logger()
PATIENCE_S: Final = 0.2
"""How long a pass waits for an answer, which is enough for a small snapshot."""
AGAIN_S: Final = 60.0
"""A refused snapshot is read again so much later: its files may have been restored."""

Key = tuple[str, str]
"""Id and digest: an id that comes back may be another snapshot's."""


class VerifiedEntries:
    """Checks each snapshot of the catalog: files against manifest, manifest against catalog; a sound one once.

    ``store`` is where they lie; without one, where each entry's URI says. One is read at a time, in a thread. An
    answer that nobody asks for any more is forgotten after ``again_s``, as a refusal is.
    """

    def __init__(
        self,
        store: SnapshotStore | None,
        home: Path,
        patience_s: float = PATIENCE_S,
        again_s: float = AGAIN_S,
    ) -> None:
        self._origins, self._patience_s, self._again_s = Origins(store, home / "copies"), patience_s, again_s
        self._sound: dict[Key, float] = {}  # when it was asked for last
        self._refused: dict[Key, float] = {}  # when
        self._news = News()
        self._reading: threading.Thread | None = None

    def __call__(self, entry: CatalogEntry) -> bool:
        """Return whether a snapshot is sound; one that is not read yet, or cannot be now, is asked for again."""
        key = entry.id, entry.digest
        self._forget()
        if not self._knows(key) and self._free() and not self._knows(key):
            self._reading = threading.Thread(target=self._read, args=(entry,), name="verifying", daemon=True)
            self._reading.start()
            self._free()
        if key in self._sound:
            self._sound[key] = time.monotonic()
        return key in self._sound

    def _knows(self, key: Key) -> bool:
        return key in self._sound or key in self._refused

    def _forget(self) -> None:
        since = time.monotonic() - self._again_s
        for answers in (self._sound, self._refused):
            for key in [key for key, at in list(answers.items()) if at < since]:
                del answers[key]

    def _free(self) -> bool:
        """Wait for what is read now, not for long; return whether another may be read."""
        if self._reading is not None:
            self._reading.join(self._patience_s)
            if self._reading.is_alive():
                return False
            self._reading = None
        return True

    def _read(self, entry: CatalogEntry) -> None:
        key = entry.id, entry.digest
        try:
            self._origins.of(entry).verify(entry.id, entry.digest)
            self._sound[key] = time.monotonic()
            self._news.mended()
        except SnapshotRefused as error:
            self._refused[key] = time.monotonic()
            _LOG.error("snapshot refused", snapshot=entry.id, reason=str(error))
        except StorageUnavailable as error:
            if self._news.broke(str(error)):
                _LOG.warning("snapshot cannot be read now", snapshot=entry.id, reason=str(error))
