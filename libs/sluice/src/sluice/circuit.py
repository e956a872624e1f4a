"""Keeps callers away from what has just failed, so that an outage costs one of them a wait and the others nothing.

Pure: time comes from the clock that is handed over.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

from sluice.errors import StorageUnavailable

T = TypeVar("T")
Told = Callable[[str | None], None]


def _nobody(_reason: str | None) -> None:
    """Tell nobody."""


class Circuit:
    """Closed while calls work. A failure opens it for ``rest_s``; then one caller tries, the others rest on.

    ``told`` is called once when an outage begins, with the reason, and once when it ends, with None: in that order
    whoever calls, so it must be quick and must not call through this circuit.
    """

    def __init__(self, rest_s: float, clock: Callable[[], float], told: Told = _nobody) -> None:
        self._rest_s, self._clock, self._told = rest_s, clock, told
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._until = 0.0

    @property
    def reason(self) -> str | None:
        """Why it is open; None while it is closed."""
        return self._reason

    def through(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns.

        A :class:`StorageUnavailable` that it raises opens the circuit; while it is open, the same reason is
        raised without a try. Other errors say nothing of the other side and change nothing.
        """
        self._require_turn()
        try:
            done = work()
        except StorageUnavailable as error:
            self._failed(str(error))
            raise
        if self._reason is not None:
            self._worked()
        return done

    def _require_turn(self) -> None:
        if self._reason is None:
            return
        with self._lock:
            reason, now = self._reason, self._clock()
            if reason is not None and now < self._until:
                raise StorageUnavailable(reason)
            self._until = now + self._rest_s  # this caller tries, the others wait for what it finds

    def _failed(self, reason: str) -> None:
        with self._lock:
            begins = self._reason is None
            self._reason = reason
            self._until = self._clock() + self._rest_s
            if begins:
                self._told(reason)

    def _worked(self) -> None:
        with self._lock:
            ends, self._reason = self._reason is not None, None
            if ends:
                self._told(None)
