"""Routing in memory: read often, never older than what was seen before."""

import time
from collections.abc import Callable
from typing import NamedTuple

from sluice.routing import Routing, RoutingStore, track


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
        self.current: Routing | None = None

    def poll(self) -> None:
        """Read the store; a lower epoch than the one known is ignored."""
        read = self._store.read()
        if read is not None and (self.current is None or read.epoch >= self.current.epoch):
            self.current = read

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
