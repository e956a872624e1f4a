"""Routing in memory: read often, never older than what was seen before."""

import time
from collections.abc import Callable
from typing import NamedTuple

import structlog

from sluice.errors import StorageUnavailable
from sluice.routing import Routing, RoutingStore, track

_log = structlog.get_logger()


class Deal(NamedTuple):
    """Which snapshot is to answer, and under what it was dealt, so that the request counts there.

    ``stable`` answers where the candidate cannot. ``rollout`` is empty while there is no candidate.
    """

    track: str
    snapshot: str
    stable: str | None
    rollout: str = ""
    weight_epoch: int = 0


class RoutingTable:
    """The routing of one model. Without news the last one stays; a candidate's weight expires by itself."""

    def __init__(self, store: RoutingStore, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock
        self._lacks = False
        self.current: Routing | None = None

    def poll(self) -> None:
        """Read the store; a lower epoch than the one known is ignored, and so is a store that does not answer."""
        try:
            read = self._store.read()
        except StorageUnavailable as error:
            self._tell(str(error))
            return
        self._tell(None)
        if read is not None and (self.current is None or read.epoch >= self.current.epoch):
            self.current = read

    def _tell(self, reason: str | None) -> None:
        """Log when news begin to lack and when they come again."""
        if reason is not None and not self._lacks:
            _log.warning("routing cannot be read, the last one stays", reason=reason)
        elif reason is None and self._lacks:
            _log.info("routing is read again")
        self._lacks = reason is not None

    def deal(self, subject: str) -> Deal | None:
        """Return who answers ``subject``; None while no snapshot may."""
        routing = self.current
        if routing is None:
            return None
        dealt = track(routing, subject, self._clock())
        snapshot = routing.candidate if dealt == "candidate" else routing.stable
        if snapshot is None:
            return None
        rollout = routing.rollout if routing.candidate is not None else ""
        return Deal(dealt, snapshot, routing.stable, rollout, routing.weight_epoch)
