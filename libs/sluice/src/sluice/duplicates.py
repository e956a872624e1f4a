"""Which interactions are repeats: a pure function of the log, the same for every reader.

An interaction repeats another if the same ``event_id`` occurred in the same partition at one of the
``WINDOW`` offsets before it, whether that one was a repeat itself or not. So a reader needs nothing but
the window before its position to know what any other reader knows, and a record that is handed over again, after
a batch was given up, is answered as it was the first time.
"""

from hashlib import blake2b
from typing import Final

WINDOW: Final = 100_000
"""How many offsets of a partition a repeat may lie behind the original (or behind the repeat before it)."""


class Duplicates:
    """Where each event id was seen last, as 64-bit hashes, and which were repeats; at most two windows' worth each."""

    def __init__(self, window: int = WINDOW) -> None:
        self.window = window
        self._seen: dict[int, dict[int, int]] = {}  # partition → hash → newest offset
        self._newest: dict[int, int] = {}
        self._repeats: dict[int, set[int]] = {}  # partition → offsets answered with yes

    def repeated(self, partition: int, offset: int, event_id: str) -> bool:
        """Remember an event id and return whether it is a repeat. Ask in offset order within a partition.

        Up to one window of offsets behind the newest may be asked again, in any order.
        """
        if offset <= self._newest.get(partition, -1):
            return offset in self._repeats.get(partition, ())
        seen = self._seen.setdefault(partition, {})
        hashed = int.from_bytes(blake2b(event_id.encode(), digest_size=8).digest(), "little")
        before = seen.get(hashed)
        seen[hashed] = self._newest[partition] = offset
        if len(seen) > 2 * self.window:
            self._seen[partition] = self._within(partition)
        if before is None or offset - before > self.window:
            return False
        self._remember_repeat(partition, offset)
        return True

    def _remember_repeat(self, partition: int, offset: int) -> None:
        repeats = self._repeats.setdefault(partition, set())
        repeats.add(offset)
        if len(repeats) > 2 * self.window:
            self._repeats[partition] = {each for each in repeats if each > offset - self.window}

    def forget(self, partition: int) -> None:
        """Know nothing of ``partition`` any more."""
        for known in (self._seen, self._newest, self._repeats):
            known.pop(partition, None)

    def _within(self, partition: int) -> dict[int, int]:
        """Return what a later offset may still repeat."""
        least = self._newest[partition] - self.window
        return {hashed: offset for hashed, offset in self._seen[partition].items() if offset > least}
