"""While the event log is away one request tries it, all others are refused at once."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sluice.errors import StorageUnavailable


class Breaker:
    """A circuit breaker for appends: open from one that failed until one succeeds."""

    def __init__(self) -> None:
        self._open, self._trial = False, threading.Lock()

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Let the body append; raises :class:`StorageUnavailable` while the log is away and somebody else tries it."""
        tries = self._open
        if tries and not self._trial.acquire(blocking=False):
            raise StorageUnavailable("the event log does not answer; send the request again")
        try:
            yield
            self._open = False
        except StorageUnavailable:
            self._open = True
            raise
        finally:
            if tries:
                self._trial.release()
