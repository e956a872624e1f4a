"""Readers for whoever reads: a thread that goes on reading the same partitions finds what was fetched ahead."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from confluent_kafka import Consumer

from sluice.events import Partition
from sluice.kafka import reader
from sluice.kafka.connection import Connection
from sluice.kafka.latch import Latch
from sluice.kafka.reader import Ends, Reader

MOST: Final = 16
IDLE_S: Final = 60.0
_GROUP: Final = "sluice-readers"
"""Kafka's client wants one; nothing joins it and nothing is committed for it."""

Key = tuple[int, frozenset[Partition]]


class Readers:
    """One reader for each (thread, set of partitions); those unused for long are closed."""

    def __init__(self, connection: Connection, ends: Ends, latch: Latch) -> None:
        self._connection, self._ends, self._latch = connection, ends, latch
        self._lock = threading.Lock()
        self._idle: dict[Key, tuple[Reader, float]] = {}  # the one used last is last

    @contextmanager
    def of(self, positions: Mapping[Partition, int]) -> Iterator[Reader]:
        """Lend the calling thread its reader of these partitions."""
        key = (threading.get_ident(), frozenset(positions))
        with self._lock:
            mine, _ = self._idle.pop(key, (None, 0.0))
        mine = mine or self._open()
        try:
            yield mine
        finally:
            with self._lock:
                self._idle[key] = (mine, time.monotonic())
                unused = self._unused()
            for each in unused:
                each.close()

    def _open(self) -> Reader:
        settings = {**reader.SETTINGS, "group.id": _GROUP}
        return Reader(self._connection.open(Consumer, settings), self._ends, self._latch)

    def _unused(self) -> list[Reader]:
        since = time.monotonic() - IDLE_S
        keys = [key for key, (_, used_at) in self._idle.items() if used_at < since]
        keys += list(self._idle)[len(keys) : -MOST]
        return [self._idle.pop(key)[0] for key in keys]

    def close(self) -> None:
        """Close all."""
        with self._lock:
            readers = [each for each, _ in self._idle.values()]
            self._idle.clear()
        for each in readers:
            each.close()
