"""Reads of the store behind a cache: bounded in time, and none while the store does not answer."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import structlog

from sluice import instruments, metrics
from sluice.circuit import Circuit
from sluice.errors import StorageUnavailable

WAIT_S: Final = 0.3
"""The longest a request waits for a store."""
REST_S: Final = 1.0
"""After a failed read the store is not asked for so long."""
THREADS: Final = 16

T = TypeVar("T")
_log = structlog.get_logger()
_UP = instruments.gauge(metrics.STORE_UP)


class StoreReads:
    """Reads of one store.

    A read goes on in its own thread when nobody waits for it any more, so that what a slow store says is cached all
    the same, and a first connection gets the time it takes. Its own bound ends it.
    """

    def __init__(self, store: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._up = store, _UP.labels(store)
        self._circuit = Circuit(REST_S, clock, self._tell)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"read-{store}")
        self._up.set(1)

    def ask(self, read: Callable[[], T], keep: Callable[[T], None]) -> T:
        """Return what ``read`` returns, once ``keep`` has cached it.

        Raises :class:`StorageUnavailable` if it fails or takes too long, and at once for a second after that.
        """
        return self._circuit.through(lambda: self._within_time(read, keep))

    def _within_time(self, read: Callable[[], T], keep: Callable[[T], None]) -> T:
        def work() -> T:
            found = read()
            keep(found)
            return found

        future = self._threads.submit(work)
        try:
            return future.result(WAIT_S)
        except TimeoutError:
            future.cancel()  # of no use if it has begun
            raise StorageUnavailable(f"the store of {self._store} did not answer in {WAIT_S} s") from None

    def _tell(self, reason: str | None) -> None:
        self._up.set(0 if reason else 1)
        if reason:
            _log.warning("store is not read until it answers", store=self._store, reason=reason)
        else:
            _log.info("store answers reads again", store=self._store)
