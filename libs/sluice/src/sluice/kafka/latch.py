"""What is known, for the life of a process, of partitions whose offsets do not mean any more what they meant."""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final

import structlog

from sluice.errors import OffsetOutOfRange
from sluice.events import Partition

Ids = Callable[[Collection[str]], Mapping[str, str]]
"""Tells the ids of topics; without those that do not exist."""
EVERY_S: Final = 0.5
"""Who reads on looks at ids so often: the client itself follows a topic created anew without a word."""

_log = structlog.get_logger()


class Latch:
    """Refuses partitions that were found cut off or created anew, however far they grow afterwards.

    A position that lies beyond the end today lies in the middle of other records once the topic has grown past
    it: so the partition stays refused, at that position and later ones, until the process is started again.
    All readers and memberships of a log share it. A topic created anew that has grown past a position before
    anybody looked is known by its id, if this process has read the topic before; otherwise nothing tells. It is
    refused at all positions but 0.
    """

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._known: dict[str, str] = {}
        self._looked_at: dict[str, float] = {}
        self._refused: dict[Partition, OffsetOutOfRange] = {}  # the one at the least position
        self._lock = threading.Lock()

    def check(self, positions: Mapping[Partition, int]) -> None:
        """Raise :class:`OffsetOutOfRange` if one of ``positions`` is refused."""
        for partition, refused in list(self._refused.items()) if self._refused else ():
            position = positions.get(partition)
            if position is not None and position >= refused.position:
                raise _beyond(partition, position, refused.begin, refused.end)

    def refuse(self, partition: Partition, position: int, begin: int, end: int) -> OffsetOutOfRange:
        """Refuse ``position`` and later ones from now on; return the error."""
        error = _beyond(partition, position, begin, end)
        with self._lock:
            known = self._refused.get(partition)
            if known is None or position < known.position:
                self._refused[partition] = error
        if known is None:
            _log.error(
                "partition refused until this process is started again",
                partition=f"{partition.topic}[{partition.number}]",
                position=position,
                end=error.end,
            )
        return error

    def look(self, positions: Mapping[Partition, int]) -> None:
        """Raise :class:`OffsetOutOfRange` if the topic of a position was created anew since it was first read."""
        self._look({partition.topic for partition, at in positions.items() if at}, positions)

    def look_again(self, positions: Mapping[Partition, int], nexts: Mapping[Partition, int]) -> None:
        """Do it for who was given records at ``positions`` and goes on at ``nexts``, if the last look was long ago."""
        since = time.monotonic() - EVERY_S
        topics = {topic for (topic, _), at in nexts.items() if at and self._looked_at.get(topic, 0.0) < since}
        if topics:
            self._look(topics, positions)

    def _look(self, topics: Collection[str], positions: Mapping[Partition, int]) -> None:
        ids = self._ids(topics)
        self._looked_at |= dict.fromkeys(ids, time.monotonic())
        anew = {topic for topic, now in ids.items() if self._first(topic, now) != now}
        errors = [
            self.refuse(partition, at, 0, 0)
            for partition, at in positions.items()
            if partition.topic in anew and at
        ]
        if errors:
            raise errors[0]

    def _first(self, topic: str, now: str) -> str:
        with self._lock:
            return self._known.setdefault(topic, now)


def _beyond(partition: Partition, position: int, begin: int, end: int) -> OffsetOutOfRange:
    """Return the error for a position of records that are gone: whatever is there now, it is beyond the end."""
    return OffsetOutOfRange(*partition, position, begin, max(0, min(end, position - 1)))
