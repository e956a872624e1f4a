"""The snapshots that a trainer evaluates: opened from the store, with their rows by trainer row."""

from pathlib import Path

import numpy as np
import structlog

from sluice.encoder import Rows
from sluice.errors import SnapshotRefused, StorageUnavailable
from sluice.routing import Routing
from sluice.snapshot.unit import Unit
from sluice.snapshot.verify import verify
from sluice_trainer.vocabulary import Vocabulary

_LOG = structlog.get_logger()


class Contender:
    """An opened snapshot; ``rows`` maps trainer rows to its own, -1 where it lacks the item."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.rows: Rows = np.empty(0, dtype=np.int32)

    def extend(self, items: Vocabulary) -> None:
        """Map the items that joined the vocabulary since last time."""
        late = self.unit.items.ids.rows_of(items.since(len(self.rows)))
        self.rows = np.concatenate([self.rows, late])


class Contenders:
    """Opens stable and candidate as routing names them, and forgets the others."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._open: dict[str, Contender] = {}
        self._refused: set[str] = set()

    def of(self, routing: Routing | None) -> tuple[Contender | None, Contender | None]:
        """Return (stable, candidate); None for one that is not named or cannot be opened."""
        names = (routing.stable, routing.candidate) if routing else (None, None)
        self._open = {name: contender for name, contender in self._open.items() if name in names}
        stable, candidate = (self._get(name) for name in names)
        return stable, candidate

    def _get(self, snapshot: str | None) -> Contender | None:
        if snapshot is None or snapshot in self._refused:
            return None
        if snapshot not in self._open:
            try:
                verify(self._store / snapshot)
                self._open[snapshot] = Contender(Unit.open(self._store / snapshot, with_index=False))
            except StorageUnavailable as error:  # for now only
                _LOG.warning("snapshot-unreadable", snapshot=snapshot, reason=str(error))
                return None
            except SnapshotRefused as error:
                self._refused.add(snapshot)
                _LOG.error("snapshot-refused", snapshot=snapshot, reason=str(error))
                return None
        return self._open[snapshot]
