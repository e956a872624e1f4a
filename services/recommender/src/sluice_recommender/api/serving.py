"""Asks the snapshot that a rollout deals to somebody; stable answers where the candidate fails."""

import time
from typing import Any, NamedTuple

import msgspec
import structlog

from sluice import instruments, metrics
from sluice_recommender.api.asking import Ranked
from sluice_recommender.api.pods import Pods, SearchFailed
from sluice_recommender.api.routes import Deal, RoutingTable
from sluice_recommender.api.tally import Tally

_log = structlog.get_logger()
_CANARY_ERRORS = instruments.counter(metrics.CANARY_ERRORS)
_FALLBACKS = instruments.counter(metrics.FALLBACKS)


class Served(NamedTuple):
    """What answered: the items found and the snapshot and track they are from; nothing if none could."""

    found: Ranked = ()
    snapshot: str | None = None
    track: str = "stable"


class Warnings:
    """Logs at most one warning a second of one model: an outage would make one per request."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._silent_until = 0.0

    def __call__(self, event: str, error: Exception, **more: str) -> None:
        """Log, or not."""
        now = time.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + 1.0
            _log.warning(event, model=self._model, reason=str(error), **more)


class Serving:
    """The snapshots of one model. ``stable`` and ``canary`` are its Faiss pods."""

    def __init__(
        self, model: str, routes: RoutingTable, tally: Tally, stable: Pods, canary: Pods, warn: Warnings
    ) -> None:
        self._model, self._routes, self._tally, self._warn = model, routes, tally, warn
        self._pods = {"stable": stable, "candidate": canary}

    def serve(self, body: dict[str, Any], subject: str, started: float) -> Served:
        """Ask the snapshot dealt to ``subject``; ``started`` is the request's :func:`time.perf_counter`.

        Raises :class:`~sluice_recommender.api.pods.UnknownItem` if the snapshot lacks what others should be like.
        """
        deal = self._routes.deal(subject)
        if deal is None:
            _FALLBACKS.labels(self._model, "no-snapshot").inc()
            return Served()
        served = self._ask(deal.track, deal.snapshot, body)
        if served.snapshot is None and deal.track == "candidate":
            _CANARY_ERRORS.labels(self._model).inc()
            if deal.stable is not None:
                served = self._ask("stable", deal.stable, body)
        if served.snapshot is None:
            _FALLBACKS.labels(self._model, "no-pod").inc()
        self._count(deal, error=served.snapshot != deal.snapshot, started=started)
        return served

    def _ask(self, track: str, snapshot: str, body: dict[str, Any]) -> Served:
        try:
            found = self._pods[track].search(msgspec.json.encode({"snapshot": snapshot, **body}))
        except SearchFailed as error:
            self._warn("search failed", error, snapshot=snapshot, track=track)
            return Served()
        return Served(found, snapshot, track)

    def _count(self, deal: Deal, *, error: bool, started: float) -> None:
        milliseconds = (time.perf_counter() - started) * 1e3
        self._tally.count(deal, error=error, milliseconds=milliseconds)
