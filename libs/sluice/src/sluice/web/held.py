"""What the connections of a process hold in memory together: parts of requests, and answers not yet taken."""

import threading
from collections.abc import Iterable
from typing import Final

from sluice.web.connections import Connection

HELD_BYTES: Final = 64 << 20
"""What the connections of one process may hold together."""


class Held:
    """A sum that any thread may change; each connection is counted by the thread that owns it."""

    def __init__(self) -> None:
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def too_much(self) -> bool:
        """Return whether room must be made."""
        return self._bytes > HELD_BYTES

    @property
    def enough_room(self) -> bool:
        """Return whether so much room is left that the next few bytes need not make some again."""
        return self._bytes <= HELD_BYTES - HELD_BYTES // 16

    def count(self, connection: Connection) -> bool:
        """Count what a connection holds now; return whether it has grown and all together hold too much."""
        grown = connection.held - connection.counted
        if grown:
            self._add(connection, grown)
        return grown > 0 and self.too_much

    def forget(self, connection: Connection) -> None:
        """Count a connection no more: it is being closed."""
        self._add(connection, -connection.counted)

    def _add(self, connection: Connection, grown: int) -> None:
        connection.counted += grown
        with self._lock:
            self._bytes += grown


def longest_first(waiting: Iterable[Connection], phase: str) -> list[Connection]:
    """Return those in a phase that hold something, the one that has been in it longest first."""
    holding = [each for each in waiting if each.counted and each.phase is phase]
    return sorted(holding, key=lambda connection: connection.since)
