"""Entities of a source in the order of their first record, and which of them are hidden from answers. Pure.

One writer changes them while any number of threads ask: a lock is held for one change or one question at a
time. Needs pyroaring, like :mod:`sluice.postings`.
"""

import threading
from collections.abc import Sequence
from typing import Final

from pyroaring import BitMap

CAPACITY: Final = 1_000_000
"""How many entities a process knows at the most by default."""


class Entities:
    """``capacity`` bounds how many are known, hidden ones included.

    A slot is an entity's number in the order of first appearance and is never given to another. ``refused``
    counts records of new entities that came when there was no room; those known still change. ``version``
    rises with every change.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._slots: dict[str, int] = {}
        self._ids: list[str] = []
        self._hidden = BitMap()
        self.version = self.refused = 0

    def __len__(self) -> int:
        """Return how many are known, hidden ones included."""
        return len(self._ids)

    def is_hidden(self, identifier: str) -> bool:
        """Return whether an entity is known to be hidden."""
        slot = self._slots.get(identifier)
        return slot is not None and slot in self._hidden

    def ids(self, first: int, limit: int) -> Sequence[str]:
        """Return the ids of up to ``limit`` slots from ``first`` on."""
        return self._ids[first : first + limit]

    def hidden(self) -> BitMap:
        """Return the slots of the hidden ones."""
        with self._lock:
            return self._hidden.copy()

    def _slot(self, identifier: str) -> int | None:
        """Return an entity's slot, a new one if need be; None if there is no room. Call under the lock."""
        slot = self._slots.get(identifier)
        if slot is not None:
            return slot
        if len(self._ids) >= self._capacity:
            self.refused += 1
            return None
        slot = len(self._ids)
        self._ids.append(identifier)
        self._slots[identifier] = slot
        return slot

    def _hide(self, slot: int, hidden: bool) -> None:
        if hidden:
            self._hidden.add(slot)
        else:
            self._hidden.discard(slot)
        self.version += 1
