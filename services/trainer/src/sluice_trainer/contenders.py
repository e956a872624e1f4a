"""The snapshots that a trainer evaluates: opened from the store, with their rows by trainer row."""

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from sluice.catalog import Catalog
from sluice.encoder import Rows
from sluice.errors import SnapshotRefused
from sluice.routing import Routing
from sluice.snapshot.store import SnapshotStore
from sluice.snapshot.unit import Unit
from sluice_trainer.batch import Keys, origins
from sluice_trainer.vocabulary import Vocabulary

_LOG = structlog.get_logger()


class Contender:
    """An opened snapshot; ``rows`` maps trainer rows to its own, -1 where it lacks the item.

    ``ends`` maps ``topic[partition]`` to the first offset that it did not learn.
    """

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.rows: Rows = np.empty(0, dtype=np.int32)
        self.ends = {part: end for part, (_start, end) in unit.manifest.offsets.items()}

    def extend(self, items: Vocabulary) -> None:
        """Map the items that joined the vocabulary since last time."""
        if len(items) > len(self.rows):
            late = self.unit.items.ids.rows_of(items.since(len(self.rows)))
            self.rows = np.concatenate([self.rows, late])

    def unlearned(self, topic: str, keys: Keys) -> NDArray[np.bool_]:
        """Return which events of ``topic``, given by their keys ``(n,)``, came after all that it learned."""
        parts, offsets = origins(keys)
        numbers, places = np.unique(parts, return_inverse=True)
        ends = [self.ends.get(f"{topic}[{number}]", 0) for number in numbers.tolist()]
        after: NDArray[np.bool_] = offsets >= np.array(ends, dtype=np.uint64)[places]
        return after


Contest = tuple[Contender | None, Contender | None]
"""Stable and candidate."""


def names_of(routing: Routing | None) -> tuple[str | None, str | None]:
    """Return the snapshots that ``routing`` names: (stable, candidate)."""
    return (routing.stable, routing.candidate) if routing else (None, None)


class Contenders:
    """Opens stable and candidate as routing names them, and forgets the others.

    With a ``catalog`` they must be the ones entered there.
    """

    def __init__(self, store: SnapshotStore, catalog: Catalog | None = None) -> None:
        self._store, self._catalog = store, catalog
        self._open: dict[str, Contender] = {}
        self._refused: set[str] = set()

    def vetted(self, routing: Routing | None) -> Routing | None:
        """Return ``routing`` without the snapshots that are unsound: what a plan may name.

        Raises :class:`StorageUnavailable` if one cannot be read now: it is not to be left out for that.
        """
        if routing is None:
            return None
        stable, candidate = self.of(routing)
        return msgspec.structs.replace(
            routing,
            stable=routing.stable if stable else None,
            candidate=routing.candidate if candidate else None,
        )

    def of(self, routing: Routing | None) -> Contest:
        """Return (stable, candidate); None for one that is not named or unsound.

        Raises :class:`StorageUnavailable` if one cannot be read now.
        """
        names = names_of(routing)
        self._open = {name: contender for name, contender in self._open.items() if name in names}
        stable, candidate = (self._get(name) for name in names)
        return stable, candidate

    def _get(self, snapshot: str | None) -> Contender | None:
        if snapshot is None or snapshot in self._refused:
            return None
        if snapshot not in self._open:
            try:
                self._open[snapshot] = self._opened(snapshot)
            except SnapshotRefused as error:
                self._refused.add(snapshot)
                _LOG.error("snapshot refused", snapshot=snapshot, reason=str(error))
                return None
        return self._open[snapshot]

    def _opened(self, snapshot: str) -> Contender:
        entry = self._catalog.get(snapshot) if self._catalog else None
        unit = Unit.open(self._store.open(snapshot, entry.digest if entry else None), with_index=False)
        nobody = np.full((1, 1), -1, dtype=np.int32)  # an encoder that does not fit its part shows here
        unit.items.scores(unit.encode_rows(nobody, np.zeros((1, 1), dtype=np.float32)))
        return Contender(unit)
