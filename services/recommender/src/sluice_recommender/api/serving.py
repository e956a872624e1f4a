"""Asks the snapshot that a rollout deals to somebody; stable answers where the candidate fails.

Evidence counts the requests that were asked of the snapshot they were dealt, failed ones as errors. While no pod is
known, or all rest after a failure, nothing is asked of them, so nothing is counted: one failure is one error, however
many requests come meanwhile, and the share of errors stays that of the requests asked. Nor is it the snapshot's error
that no pod holds it: canary pods say so before they were given it and once it was taken from them, and a failure
of pods that hold it is what counts. Canary pods are tried again
after :data:`~sluice_recommender.api.pods.CANARY_LAST_REST_S` at the latest, so that a dead candidate collects an
error every second (every two, if it hangs) from each worker with users for it: 200 within minutes, all failed.
"""

import time
from typing import Any, Final, NamedTuple

import msgspec
import structlog

from sluice import instruments, metrics
from sluice_recommender.api.asking import Ranked
from sluice_recommender.api.pods import NotHeld, Pods, Resting, SearchFailed, UnknownItem
from sluice_recommender.api.routes import Deal, RoutingTable
from sluice_recommender.api.tally import Tally

_log = structlog.get_logger()
_CANARY_ERRORS = instruments.counter(metrics.CANARY_ERRORS)
_FALLBACKS = instruments.counter(metrics.FALLBACKS)
NAMING: Final = frozenset({"similar_to", "similar_to_user"})
"""The fields of a search that name what others should be like."""


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
    """The snapshots of one model. ``stable`` and ``canary`` are its Faiss pods.

    While no stable pod that is known holds what is stable now, the snapshot that answered last is asked. It happens
    when all pods were just replaced: name servers go on naming the old ones for up to half a minute, and these
    serve until their end, but nobody tells them of what becomes stable meanwhile.
    """

    def __init__(
        self, model: str, routes: RoutingTable, tally: Tally, stable: Pods, canary: Pods, warn: Warnings
    ) -> None:
        self._model, self._routes, self._tally, self._warn = model, routes, tally, warn
        self._pods = {"stable": stable, "candidate": canary}
        self._answered_last: str | None = None

    def serve(self, body: dict[str, Any], subject: str, started: float) -> Served:
        """Ask the snapshot dealt to ``subject``; ``started`` is the request's :func:`time.perf_counter`.

        Raises :class:`~sluice_recommender.api.pods.UnknownItem` if the snapshot lacks what others should be like.
        """
        deal = self._routes.deal(subject)
        if deal is None:
            _FALLBACKS.labels(self._model, "no-snapshot").inc()
            return Served()
        if deal.track == "stable":
            served, telling = self._ask_stable(deal.snapshot, body)
        else:
            served, telling = self._ask_candidate(deal, body)
        if served.snapshot is None:
            _FALLBACKS.labels(self._model, "no-pod").inc()
        if telling:
            self._count(deal, error=served.snapshot != deal.snapshot, started=started)
        return served

    def _ask_candidate(self, deal: Deal, body: dict[str, Any]) -> tuple[Served, bool]:
        """Do as :meth:`_ask`; stable answers if the candidate cannot."""
        served, telling = self._ask("candidate", deal.snapshot, body)
        if served.snapshot is None:
            if telling:
                _CANARY_ERRORS.labels(self._model).inc()
            if deal.stable is not None:
                served, _ = self._ask_stable(deal.stable, body)
        return served, telling

    def _ask_stable(self, snapshot: str, body: dict[str, Any]) -> tuple[Served, bool]:
        """Do as :meth:`_ask`; what answered last does so again while no pod holds ``snapshot``."""
        served, telling = self._ask("stable", snapshot, body)
        if served.snapshot is not None:
            self._answered_last = snapshot
        elif not telling and self._answered_last not in (None, snapshot):
            served, _ = self._ask("stable", self._answered_last, body)
        return served, telling

    def _ask(self, track: str, snapshot: str, body: dict[str, Any]) -> tuple[Served, bool]:
        """Return what a snapshot found, and whether that tells anything of it."""
        try:
            found = self._search(track, {"snapshot": snapshot, **body})
        except SearchFailed as error:
            self._warn("search failed", error, snapshot=snapshot, track=track)
            return Served(), not isinstance(error, Resting | NotHeld)
        return Served(found, snapshot, track), True

    def _search(self, track: str, body: dict[str, Any]) -> Ranked:
        try:
            return self._pods[track].search(msgspec.json.encode(body))
        except UnknownItem as error:
            if body.keys() & NAMING:
                raise
            raise SearchFailed(f"a pod answered {error} to a query that names none") from error

    def _count(self, deal: Deal, *, error: bool, started: float) -> None:
        milliseconds = (time.perf_counter() - started) * 1e3
        self._tally.count(deal, error=error, milliseconds=milliseconds)
