"""What time it is in the log, by two clocks of which either may be wrong."""

import time
from collections.abc import Callable
from typing import NamedTuple


class Clocks(NamedTuple):
    """Unix time that may jump, and time since some moment that never does; both in seconds."""

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


class LogTime:
    """The time up to which the log has surely been written: the earlier of the wall clock and the log's own.

    The log's own is the newest timestamp read plus the time since. A wall clock that is ahead, of this process
    or of a writer, so never makes anything due early; one that is behind only delays.
    """

    def __init__(self, clocks: Clocks, newest: int) -> None:
        self._clocks, self._ahead = clocks, float("-inf")
        if newest:
            self.seen(newest)

    def seen(self, timestamp: int) -> None:
        """Note the timestamp of a record, in milliseconds."""
        self._ahead = max(self._ahead, timestamp - self._clocks.monotonic() * 1e3)

    def now(self) -> int:
        """Return it in milliseconds."""
        wall = self._clocks.wall() * 1e3
        if self._ahead == float("-inf"):
            return int(wall)
        return int(min(wall, self._clocks.monotonic() * 1e3 + self._ahead))
