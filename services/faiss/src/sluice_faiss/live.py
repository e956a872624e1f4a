"""The live state of one worker: the overlay, and every unit that follows it."""

import threading
import time
from typing import Final
from weakref import WeakSet

from sluice.entities import CAPACITY
from sluice.overlay import Forgotten, Overlay
from sluice.snapshot.unit import Unit
from sluice_faiss.bound import Bound

PAUSE_S: Final = 0.0005


class Live:
    """``capacity`` bounds the items known, and the forgotten users."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.overlay, self.forgotten = Overlay(capacity), Forgotten(capacity)
        self._bound: WeakSet[Bound] = WeakSet()
        self._lock = threading.Lock()

    def bind(self, unit: Unit) -> Bound:
        """Return a unit that follows the overlay for as long as somebody holds it."""
        bound = Bound(unit, self.overlay, self.forgotten)
        bound.refresh(_pause)  # takes seconds for a large catalogue, while the others go on following
        with self._lock:
            self._bound.add(bound)
        bound.refresh()
        return bound

    def refresh(self) -> None:
        """Let the units follow; to be called after every batch of records."""
        with self._lock:
            following = list(self._bound)
        for bound in following:
            bound.refresh()


def _pause() -> None:
    """Let searches go first."""
    time.sleep(PAUSE_S)
