"""Evidence of requests: counted in memory, written every 2 s, never lost while the store is busy."""

import threading
from collections.abc import Callable
from typing import NamedTuple

import structlog

from sluice import instruments, metrics
from sluice.errors import StorageUnavailable
from sluice.evidence import LATENCY_BOUNDS_MS, EvidenceRow, EvidenceStore, Requests, latency_bucket
from sluice.routing import Routing
from sluice_recommender.api.routes import Deal

_log = structlog.get_logger()
_EVIDENCE = instruments.counter(metrics.EVIDENCE_ROWS).labels("requests")


class Key(NamedTuple):
    """What a count belongs to."""

    rollout: str
    snapshot: str
    weight_epoch: int


class _Count:
    __slots__ = ("errors", "latency", "n")

    def __init__(self) -> None:
        self.n = self.errors = 0
        self.latency = [0] * (len(LATENCY_BOUNDS_MS) + 1)


class Tally:
    """Counts of one process for one model. ``writer`` is ``requests/<host>-<pid>-<start>``."""

    def __init__(self, writer: str) -> None:
        self._writer = writer
        self._sequence = 0
        self._lock = threading.Lock()
        self._counts: dict[Key, _Count] = {}

    def count(self, deal: Deal, *, error: bool, milliseconds: float) -> None:
        """Count one request under what it was dealt, not under what is in force when it ends."""
        if not deal.rollout:
            return
        key = Key(deal.rollout, deal.snapshot, deal.weight_epoch)
        with self._lock:
            count = self._counts.setdefault(key, _Count())
            count.n += 1
            count.errors += error
            count.latency[latency_bucket(milliseconds)] += 1

    def take(self, routing: Routing | None, at: float) -> list[EvidenceRow]:
        """Return what was counted since the last call as rows; a heartbeat if that was nothing."""
        with self._lock:
            counts, self._counts = self._counts, {}
        rows = [self._row(key, at, count) for key, count in counts.items()]
        if not rows and routing is not None and routing.candidate is not None:
            rows.append(self._row(Key(routing.rollout, routing.candidate, routing.weight_epoch), at, None))
        return rows

    def _row(self, key: Key, at: float, count: _Count | None) -> EvidenceRow:
        self._sequence += 1
        requests = Requests(n=count.n, errors=count.errors, latency=tuple(count.latency)) if count else None
        return EvidenceRow(
            rollout=key.rollout,
            snapshot=key.snapshot,
            weight_epoch=key.weight_epoch,
            writer=self._writer,
            sequence=str(self._sequence),
            at=at,
            requests=requests,
        )


class TallyWriter:
    """Appends a tally's rows. Rows that the store did not take are handed to it again, under the same key."""

    def __init__(
        self,
        tally: Tally,
        store: EvidenceStore,
        routing: Callable[[], Routing | None],
        clock: Callable[[], float],
    ) -> None:
        self._tally, self._store, self._routing, self._clock = tally, store, routing, clock
        self._pending: list[EvidenceRow] = []
        self._waits = False

    def flush(self) -> None:
        """Write everything counted so far."""
        self._pending += self._tally.take(None if self._pending else self._routing(), self._clock())
        if not self._pending:
            return
        try:
            self._store.append(self._pending)
        except StorageUnavailable as error:
            if not self._waits:
                _log.warning("evidence waits", rows=len(self._pending), reason=str(error))
            self._waits = True
            return
        if self._waits:
            _log.info("evidence goes on", rows=len(self._pending))
        self._waits = False
        _EVIDENCE.inc(len(self._pending))
        self._pending = []
