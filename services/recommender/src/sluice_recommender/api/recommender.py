"""Answers asks: profile → query → snapshot → filled up with popular items → recorded.

A missing dependency never fails a request: without Faiss, snapshot or profile the answer is popular, and
empty if there is not even that.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import prometheus_client
import structlog

from sluice import metrics
from sluice.errors import StorageUnavailable
from sluice.profile import Profile, Profiles
from sluice.records import Answer
from sluice_recommender.api.answers import Recommendations, RecommendedItem
from sluice_recommender.api.asking import (
    POPULAR,
    SIMILAR,
    Ask,
    Query,
    Ranked,
    fill,
    query_of,
    strategy_name,
    subject_of,
)
from sluice_recommender.api.outbox import Outbox
from sluice_recommender.api.pods import Pods, SearchFailed
from sluice_recommender.api.routes import Deal, RoutingTable
from sluice_recommender.api.shelf import Metadata, Popular
from sluice_recommender.api.tally import Tally

_log = structlog.get_logger()
_ANSWERS = prometheus_client.Counter(
    metrics.ANSWERS.removesuffix("_total"), "Answers given.", ["model", "track", "strategy"]
)
_CANARY_ERRORS = prometheus_client.Counter(
    metrics.CANARY_ERRORS.removesuffix("_total"),
    "Requests a candidate failed and stable answered.",
    ["model"],
)


class Served(NamedTuple):
    """What answered: the items found and the snapshot and track they are from; nothing if none could."""

    found: Ranked = ()
    snapshot: str | None = None
    track: str = "stable"


class Source(NamedTuple):
    """What models of one source share."""

    profiles: Profiles
    metadata: Metadata
    popular: Popular
    outbox: Outbox


class Recommender:
    """Answers for one model. ``stable`` and ``canary`` are its Faiss pods."""

    def __init__(
        self,
        model: str,
        source: Source,
        routes: RoutingTable,
        tally: Tally,
        stable: Pods,
        canary: Pods,
        *,
        exclude_seen: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.model, self._source, self._routes, self._tally = model, source, routes, tally
        self._pods = {"stable": stable, "candidate": canary}
        self._exclude_seen, self._clock = exclude_seen, clock
        self._silent_until = 0.0

    def recommend(self, ask: Ask) -> Recommendations:
        """Answer one ask."""
        started = time.perf_counter()
        request_id = str(uuid.uuid4())
        query = query_of(ask, self._profile(ask.user_id), exclude_seen=self._exclude_seen)
        served = Served()
        if query.strategy:
            served = self._serve(_body(query, ask.n), subject_of(ask, request_id), started)
        if ask.user_id is not None and served.snapshot is not None and query.recent:
            self._record(request_id, ask.user_id, served, ask.n)
        return self._answer(request_id, query.strategy, served, ask.n, query.exclude)

    def similar(self, item_id: str, n: int) -> Recommendations:
        """Answer with items like ``item_id``; raises UnknownItem if the snapshot lacks it."""
        started = time.perf_counter()
        request_id = str(uuid.uuid4())
        served = self._serve({"similar_to": item_id, "k": n}, request_id, started)
        return self._answer(request_id, SIMILAR, served, n, [item_id])

    def popular(self, n: int) -> Recommendations:
        """Answer with the most popular items."""
        return self._answer(str(uuid.uuid4()), POPULAR, Served(), n, ())

    def _profile(self, user_id: str | None) -> Profile | None:
        if user_id is None:
            return None
        try:
            return self._source.profiles.get(user_id)
        except StorageUnavailable as error:
            self._warn("profile unavailable, answering without", error)
            return None

    def _serve(self, body: dict[str, Any], subject: str, started: float) -> Served:
        """Ask the snapshot dealt to ``subject``; stable answers where the candidate fails."""
        deal = self._routes.deal(subject)
        if deal is None:
            return Served()
        served = self._ask(deal.track, deal.snapshot, body)
        if served.snapshot is None and deal.track == "candidate":
            _CANARY_ERRORS.labels(self.model).inc()
            if deal.stable is not None:
                served = self._ask("stable", deal.stable, body)
        self._count(deal, error=served.snapshot != deal.snapshot, started=started)
        return served

    def _ask(self, track: str, snapshot: str, body: dict[str, Any]) -> Served:
        try:
            found = self._pods[track].search(msgspec.json.encode({"snapshot": snapshot, **body}))
        except SearchFailed as error:
            self._warn("search failed", error, snapshot=snapshot, track=track)
            return Served()
        return Served(found, snapshot, track)

    def _warn(self, event: str, error: Exception, **more: str) -> None:
        """Log at most one warning a second: an outage would make one per request."""
        now = time.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + 1.0
            _log.warning(event, model=self.model, reason=str(error), **more)

    def _count(self, deal: Deal, *, error: bool, started: float) -> None:
        routing = self._routes.current
        if routing is not None:
            milliseconds = (time.perf_counter() - started) * 1e3
            self._tally.count(routing, deal.snapshot, error=error, milliseconds=milliseconds)

    def _record(self, request_id: str, user_id: str, served: Served, n: int) -> None:
        """Note what the snapshot itself gave; popular items that fill up are not its merit."""
        items = tuple(item_id for item_id, _ in served.found[:n])
        self._source.outbox.put(
            Answer(
                request_id=request_id,
                user_id=user_id,
                model=self.model,
                snapshot=served.snapshot or "",
                items=items,
                ts=int(self._clock() * 1e3),
                track=served.track,
            )
        )

    def _answer(
        self, request_id: str, strategy: str, served: Served, n: int, exclude: Sequence[str]
    ) -> Recommendations:
        ranked = served.found[:n]
        if len(ranked) < n:
            ranked = fill(ranked, self._source.popular.top(), n, exclude)
        metadata = self._source.metadata.of([item_id for item_id, _ in ranked])
        name = strategy_name(strategy, min(len(served.found), n), len(ranked))
        _ANSWERS.labels(self.model, served.track, name).inc()
        return Recommendations(
            request_id=request_id,
            model=self.model,
            snapshot=served.snapshot if served.found else None,
            track=served.track,
            strategy=name,
            items=[RecommendedItem(item_id, score, metadata[item_id]) for item_id, score in ranked],
        )


def _body(query: Query, n: int) -> dict[str, Any]:
    recent = [
        {"item_id": each.item_id, "event": each.event, "value": each.value, "ts": each.ts}
        for each in query.recent
    ]
    return {"recent": recent, "features": query.features, "exclude": query.exclude, "k": n}
