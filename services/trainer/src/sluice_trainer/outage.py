"""Tells of a storage that is away: when that begins, every half minute while it lasts, and when it ends."""

import time
from typing import Final

import structlog

_LOG = structlog.get_logger()
AGAIN_S: Final = 30.0


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
