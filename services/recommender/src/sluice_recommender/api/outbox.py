"""Answers on their way to the ``answers`` topic: queued by requests, appended in batches by a thread."""

import threading
from collections import deque
from typing import Final

import structlog

from sluice import instruments, metrics
from sluice.errors import StorageUnavailable
from sluice.events import EventLog, NewRecord
from sluice.records import Answer, encode

CAPACITY: Final = 10_000
BATCH: Final = 1_000
_log = structlog.get_logger()
_DROPPED = instruments.counter(metrics.ANSWERS_DROPPED)


class Outbox:
    """A bounded queue for one topic; when it is full, answers are dropped and counted, requests never wait."""

    def __init__(self, log: EventLog, topic: str, capacity: int = CAPACITY) -> None:
        self._log, self._topic, self._capacity = log, topic, capacity
        self._queue: deque[Answer] = deque()
        self._waits, self._flushing = False, threading.Lock()

    def put(self, answer: Answer) -> None:
        """Queue one answer."""
        if len(self._queue) >= self._capacity:
            _DROPPED.inc()
            return
        self._queue.append(answer)

    def flush(self) -> None:
        """Append what is queued; what the log does not take stays queued. One call at a time does so."""
        with self._flushing:
            while self._queue:
                batch = [self._queue[place] for place in range(min(BATCH, len(self._queue)))]
                try:
                    self._log.append(
                        self._topic, [NewRecord(each.user_id.encode(), encode(each)) for each in batch]
                    )
                except StorageUnavailable as error:
                    self._tell(str(error))
                    return
                for _ in batch:
                    self._queue.popleft()
                self._tell(None)

    def give_up(self) -> None:
        """Tell of answers that the log may not have, because the process ends."""
        if left := len(self._queue):
            _DROPPED.inc(left)
            _log.warning("answers may be lost", answers=left)

    def _tell(self, reason: str | None) -> None:
        """Log when answers begin to wait and when they go on, not at every round."""
        if reason is not None and not self._waits:
            _log.warning("answers wait", answers=len(self._queue), reason=reason)
        elif reason is None and self._waits:
            _log.info("answers go on", answers=len(self._queue))
        self._waits = reason is not None
