"""Tells of a storage that is away: when that begins, every half minute while it lasts, and when it ends."""

import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

import structlog

from sluice.errors import SluiceError, StorageUnavailable

_LOG = structlog.get_logger()
AGAIN_S: Final = 30.0
RETRY_S: Final = 1.0
T = TypeVar("T")


class Stopped(SluiceError):
    """The trainer was asked to stop before it had begun to learn; there is nothing to save."""


class Outage:
    """One storage problem after the other, each logged a few times however often it is met."""

    def __init__(self) -> None:
        self._began = self._told = 0.0
        self._lasts = False

    def met(self, reason: str) -> None:
        """Note that the storage could not be used."""
        now = time.monotonic()
        if not self._lasts:
            self._lasts, self._began = True, now
        elif now - self._told < AGAIN_S:
            return
        self._told = now
        _LOG.error("storage unavailable, waiting", reason=reason, for_s=round(now - self._began, 1))

    def over(self) -> None:
        """Note that it could be used."""
        if self._lasts:
            self._lasts = False
            _LOG.info("storage available again", after_s=round(time.monotonic() - self._began, 1))

    def bridged(self, work: Callable[[], T], stopping: threading.Event) -> T:
        """Return what ``work`` returns, calling it again as long as the storage is away.

        Raises :class:`Stopped` once ``stopping`` is set, without calling it.
        """
        while not stopping.is_set():
            try:
                done = work()
            except StorageUnavailable as error:
                self.met(str(error))
                stopping.wait(RETRY_S)
            else:
                self.over()
                return done
        raise Stopped("asked to stop before it had begun")
