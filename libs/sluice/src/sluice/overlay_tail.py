"""Feeds an overlay: reads its topics from their beginning and goes on with what is appended."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from sluice import metrics
from sluice.errors import OffsetOutOfRange, StorageUnavailable
from sluice.events import EventLog, Partition, StoredRecord
from sluice.instruments import counter, gauge
from sluice.loops import Loop
from sluice.overlay import OverlayState
from sluice.positions import resumed

BATCH: Final = 1_000
SLICE: Final = 64
"""So many records at a time once it has caught up: searches get their turn in between."""
BATCHES: Final = 50
ROUND_S: Final = 0.02
"""How often it looks for new records; waiting inside the log would cost five times the processor time."""
YIELD_S: Final = 0.001
PATIENCE_S: Final = 5.0
"""How long a log may take to give the first record before nothing is taken for the end."""
REST_S: Final = 0.5
ENDS_S: Final = 1.0

_log = structlog.get_logger()


class Followed(Protocol):
    """What a tail feeds: an :class:`~sluice.overlay.Overlay`, or its like for users."""

    refused: int

    def apply(self, records: Sequence[StoredRecord]) -> None:
        """Take over records of one topic, each partition's in offset order."""

    def __len__(self) -> int:
        """Return how many entries are known."""


class Tail:
    """One thread that reads ``topics`` into what lives of each; ``changed`` is called after every batch.

    It has caught up once it has come to what was the end when it started; that is not taken back. What the
    log cannot give now is read later, and searches go on with what is known.
    """

    def __init__(
        self, log: EventLog, topics: Mapping[str, Followed], changed: Callable[[], None] = lambda: None
    ) -> None:
        self._log, self._topics, self._changed = log, topics, changed
        self._first = next(iter(topics))
        self._positions: dict[Partition, int] = {}
        self._ends: dict[Partition, int] = {}
        self._goal: dict[Partition, int] = {}
        self._looked_at = -ENDS_S
        self._told = dict.fromkeys(topics, 0)
        self._loop = Loop("overlay", ROUND_S, self.round, rest_s=REST_S)
        self.caught_up = threading.Event()

    def start(self) -> None:
        """Start the thread; call after the fork."""
        self._loop.start()

    def stop(self) -> None:
        """Stop it."""
        self._loop.stop()

    def require_caught_up(self) -> None:
        """Raise :class:`StorageUnavailable` until it has caught up."""
        if not self.caught_up.is_set():
            raise StorageUnavailable(
                f"{self._lag(self._first)} records of {self._first} are still to be read"
            )

    def state(self) -> OverlayState:
        """Return where it stands."""
        position = {str(each.number): at for each, at in self._of(self._positions, self._first).items()}
        return OverlayState(
            position=position,
            items=len(self._topics[self._first]),
            refused=sum(live.refused for live in self._topics.values()),
            lag=sum(self._lag(topic) for topic in self._topics),
            caught_up=self.caught_up.is_set(),
        )

    def round(self) -> None:
        """Read and apply what there is, up to 50 batches."""
        due = time.monotonic() >= self._looked_at + ENDS_S
        if due:
            self._look_at_ends()
        for _ in range(BATCHES):
            live = self._is_live()
            limit, timeout_s = (SLICE, 0.0) if live else (BATCH, PATIENCE_S)
            read = self._read(limit, timeout_s)
            if not read:
                self._catch_up()
                break
            self._apply(read)
            due = True
            if live:
                time.sleep(YIELD_S)
        if due:
            self._tell()

    def _read(self, limit: int, timeout_s: float) -> list[StoredRecord]:
        while True:
            try:
                return self._log.read(self._positions, limit, timeout_s)
            except OffsetOutOfRange as error:
                self._positions = resumed(self._positions, error)

    def _apply(self, read: Sequence[StoredRecord]) -> None:
        for topic, live in self._topics.items():
            records = [each for each in read if each.partition.topic == topic]
            if records:
                live.apply(records)
        self._changed()
        self._positions = self._positions | {each.partition: each.offset + 1 for each in read}

    def _look_at_ends(self) -> None:
        ends = {}
        for topic in self._topics:
            ends.update(self._log.end_offsets(topic))
        if not self._ends:
            self._goal = ends
        for topic in {
            each.topic for each in ends.keys() - self._positions.keys()
        }:  # partitions may come later
            self._positions = self._log.begin_offsets(topic) | self._positions
        self._ends, self._looked_at = ends, time.monotonic()

    def _is_live(self) -> bool:
        if not self.caught_up.is_set() and all(
            self._positions[each] >= at for each, at in self._goal.items()
        ):
            self._catch_up()
        return self.caught_up.is_set()

    def _catch_up(self) -> None:
        """Note that it has caught up; offsets need not be gapless, so that nothing to read is the end too."""
        if not self.caught_up.is_set():
            _log.info("overlay is live", entries={topic: len(live) for topic, live in self._topics.items()})
        self.caught_up.set()

    def _of(self, offsets: Mapping[Partition, int], topic: str) -> dict[Partition, int]:
        return {each: at for each, at in offsets.items() if each.topic == topic}

    def _lag(self, topic: str) -> int:
        positions = self._positions
        return sum(max(0, end - positions[each]) for each, end in self._of(self._ends, topic).items())

    def _tell(self) -> None:
        gauge(metrics.OVERLAY_ITEMS).set(len(self._topics[self._first]))
        for partition, at in self._positions.items():
            lag = gauge(metrics.LAG).labels(partition.topic, str(partition.number))
            lag.set(max(0, self._ends.get(partition, at) - at))
        for topic, live in self._topics.items():
            new = live.refused - self._told[topic]
            if new and not self._told[topic]:
                _log.warning("overlay is full, new entries are not taken", topic=topic, entries=len(live))
            counter(metrics.OVERLAY_REFUSED).labels(topic).inc(new)
            self._told[topic] = live.refused
