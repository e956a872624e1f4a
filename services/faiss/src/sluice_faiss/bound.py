"""A unit bound to the overlay: which of its rows are hidden, and which a filter leaves.

The arrays follow the overlay after every batch of records, so that a search costs no loop over items.
"""

import threading
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from sluice.encoder import Rows
from sluice.entities import Entities
from sluice.filters import Filter
from sluice.overlay import Forgotten, Overlay
from sluice.snapshot.ids import IdMap
from sluice.snapshot.selection import Mask
from sluice.snapshot.unit import Unit

CHUNK: Final = 256
"""So many ids are looked up at a time, 1 ms; in between, searches get their turn."""
FEW: Final = 0.25
FEW_ROWS: Final = 50_000
"""Up to this share of a unit's rows, and so many, those that may be found are gathered and scored exactly.

Measured on one core at 64 dimensions: a gathered row takes 20 ns, exact search of all rows 4 to 10 ns a row;
25,000 of 100,000 take 0.5 ms.
"""
FILTERS_KEPT: Final = 16


Pause = Callable[[], None]


class Allowed(NamedTuple):
    """What a search may find: all rows but ``blocked``, or of those ``only`` (ascending)."""

    blocked: Mask | None = None
    only: Rows | None = None


class SlotRows:
    """The row of a part for each slot of the overlay."""

    def __init__(self, entities: Entities, ids: IdMap) -> None:
        self._entities, self._ids = entities, ids
        self._lock = threading.Lock()
        self._rows = np.empty(0, dtype=np.int32)

    def __len__(self) -> int:
        """Return how many slots are looked up."""
        return len(self._rows)

    def refresh(self, pause: Pause) -> None:
        """Look up the slots that are new; ``pause`` is called where there are many."""
        with self._lock:
            found, known = [self._rows], len(self._rows)
            while new := self._entities.ids(known, CHUNK):
                found.append(self._ids.rows_of(new))
                known += len(new)
                if len(new) == CHUNK:
                    pause()
            if len(found) > 1:
                self._rows = np.concatenate(found)

    def of(self, slots: BitMap) -> Rows:
        """Return the rows of those slots that the part has."""
        wanted: NDArray[np.uint32] = np.asarray(slots.to_array())
        rows: Rows = self._rows
        rows = rows[wanted[: np.searchsorted(wanted, len(rows))]]  # slots ascend; the newest may be unknown
        return rows[rows >= 0]

    def mask(self, slots: BitMap) -> Mask:
        """Return a mask over all rows of the part that is true for those of ``slots``."""
        mask = np.zeros(len(self._ids), dtype=np.bool_)
        mask[self.of(slots)] = True
        return mask


class Bound:
    """One unit over one overlay, which it follows from the first :meth:`refresh` on.

    ``few`` rows are scored exactly; by default :data:`FEW` of the unit's, at most :data:`FEW_ROWS`.
    """

    def __init__(self, unit: Unit, overlay: Overlay, forgotten: Forgotten, few: int | None = None) -> None:
        self.unit = unit
        self._overlay, self._forgotten = overlay, forgotten
        self._items = SlotRows(overlay, unit.items.ids)
        self._users = None if unit.users is None else SlotRows(forgotten, unit.users.ids)
        self._few = min(int(FEW * len(unit.items.ids)), FEW_ROWS) if few is None else few
        self._kept: dict[Filter | None, tuple[tuple[int, int], Allowed]] = {}

    def refresh(self, pause: Pause = lambda: None) -> None:
        """Follow the overlay; to be called after every change of it, see :meth:`SlotRows.refresh`."""
        self._items.refresh(pause)
        if self._users is not None:
            self._users.refresh(pause)
        self.items(None)

    def users(self) -> Mask | None:
        """Return the rows of the users part that no search may find."""
        if self._users is None or not len(self._users):
            return None
        return self._users.mask(self._forgotten.hidden())

    def is_forgotten(self, user_id: str) -> bool:
        """Return whether a user is not to be known any more."""
        return self._forgotten.is_hidden(user_id)

    def items(self, wanted: Filter | None) -> Allowed:
        """Return which items a search may find; the answer is kept until the overlay changes."""
        now = self._overlay.version, len(self._items)
        kept = self._kept.get(wanted)
        if kept is not None and kept[0] == now:
            return kept[1]
        allowed = self._evaluate(wanted)
        if len(self._kept) >= FILTERS_KEPT:
            self._kept = {}
        self._kept[wanted] = now, allowed
        return allowed

    def _evaluate(self, wanted: Filter | None) -> Allowed:
        slots, excluded = self._overlay.select(wanted)
        if excluded and not slots:
            return Allowed()
        mask = self._items.mask(slots)
        left = len(mask) - np.count_nonzero(mask) if excluded else np.count_nonzero(mask)
        if left <= self._few:
            return Allowed(only=np.flatnonzero(~mask if excluded else mask).astype(np.int32))
        return Allowed(blocked=mask if excluded else ~mask)
