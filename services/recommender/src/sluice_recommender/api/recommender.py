"""Answers asks: profile → query → snapshot → filled up with popular items → recorded.

A missing dependency never fails a request: without Faiss, snapshot or profile the answer is popular, and
empty if there is not even that.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from sluice import instruments, metrics
from sluice.errors import SluiceError, StorageUnavailable
from sluice.filters import Filter
from sluice.overlay import Overlay
from sluice.profile import Profile, Profiles
from sluice.records import Answer
from sluice_recommender.api.answers import Recommendations, RecommendedItem, SimilarUser, SimilarUsers
from sluice_recommender.api.asking import (
    POPULAR,
    SIMILAR,
    Ask,
    Ranked,
    fill,
    query_of,
    search_body,
    strategy_name,
    subject_of,
)
from sluice_recommender.api.outbox import Outbox
from sluice_recommender.api.pods import NO_USERS, Pods, UnknownItem
from sluice_recommender.api.routes import RoutingTable
from sluice_recommender.api.serving import Served, Serving, Warnings
from sluice_recommender.api.shelf import Metadata, Popular
from sluice_recommender.api.tally import Tally
from sluice_recommender.api.trial import Trial

REMIND_S: Final = 60.0
"""A lack of profiles is told so often while it lasts."""
_ANSWERS = instruments.counter(metrics.ANSWERS)
_FALLBACKS = instruments.counter(metrics.FALLBACKS)


class UnknownUser(SluiceError):
    """The snapshot lacks the user that others should be like, or has no users at all."""


class Source(NamedTuple):
    """What models of one source share."""

    profiles: Profiles
    metadata: Metadata
    popular: Popular
    outbox: Outbox
    overlay: Overlay


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
        self.model, self._source, self._warn = model, source, Warnings(model)
        self._serving = Serving(model, routes, tally, stable, canary, self._warn)
        self._exclude_seen, self._clock = exclude_seen, clock
        self._warn_at = 0.0

    def recommend(self, ask: Ask, request_id: str, trial: Trial | None = None) -> Recommendations:
        """Answer one ask, as part of a trial if one dealt the user to this model."""
        started, wanted = time.perf_counter(), ask.wanted
        query = query_of(ask, self._profile(ask.user_id), exclude_seen=self._exclude_seen)
        served = Served()
        if query.strategy:
            subject = subject_of(ask, request_id)
            served = self._serving.serve(search_body(query, ask.n, wanted), subject, started)
            served = self._recommendable(served, wanted)
            if trial is not None:
                trial.count(self.model, error=served.snapshot is None, started=started)
        if ask.user_id is not None and served.snapshot is not None and query.recent:
            self._record(request_id, ask.user_id, served, ask.n, trial.name if trial is not None else "")
        return self._answer(request_id, query.strategy, served, ask.n, query.exclude, wanted)

    def similar(self, item_id: str, n: int, request_id: str, filter: Filter | None = None) -> Recommendations:
        """Answer with items like ``item_id``; raises UnknownItem if the snapshot lacks it."""
        started = time.perf_counter()
        body = {"similar_to": item_id, "filter": filter, "k": n}
        served = self._recommendable(self._serving.serve(body, request_id, started), filter)
        return self._answer(request_id, SIMILAR, served, n, [item_id], filter)

    def popular(self, n: int, request_id: str, filter: Filter | None = None) -> Recommendations:
        """Answer with the most popular items; those never counted come last, by id."""
        return self._answer(request_id, POPULAR, Served(), n, (), filter)

    def similar_users(self, user_id: str, n: int, request_id: str) -> SimilarUsers:
        """Answer with users like ``user_id``.

        Raises :class:`UnknownUser` if the snapshot lacks that user or tells nothing of users, and
        :class:`StorageUnavailable` if no snapshot can answer now.
        """
        try:
            served = self._serving.serve({"similar_to_user": user_id, "k": n}, user_id, time.perf_counter())
        except UnknownItem as error:
            raise UnknownUser(_why_unknown(self.model, str(error))) from error
        if served.snapshot is None:
            raise StorageUnavailable(f"no snapshot of {self.model} can answer now")
        users = [SimilarUser(other, score) for other, score in served.found[:n]]
        return SimilarUsers(
            request_id=request_id,
            model=self.model,
            snapshot=served.snapshot,
            track=served.track,
            strategy=SIMILAR,
            users=users,
        )

    def _profile(self, user_id: str | None) -> Profile | None:
        if user_id is None:
            return None
        try:
            return self._source.profiles.get(user_id)
        except StorageUnavailable as error:
            if self._is_due_to_warn():
                self._warn("profile unavailable, answering without", error)
            _FALLBACKS.labels(self.model, "no-profile").inc()
            return None

    def _is_due_to_warn(self) -> bool:
        """Return whether the last warning of profiles is long ago: metrics count every answer that lacked one."""
        now = time.monotonic()
        if now < self._warn_at:
            return False
        self._warn_at = now + REMIND_S
        return True

    def _recommendable(self, served: Served, wanted: Filter | None) -> Served:
        """Leave out what this process knows of already and the pod did not yet: a moment's difference."""
        matches = self._source.overlay.matches
        return served._replace(found=[pair for pair in served.found if matches(pair[0], wanted)])

    def _record(self, request_id: str, user_id: str, served: Served, n: int, experiment: str) -> None:
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
                experiment=experiment,
            )
        )

    def _answer(
        self,
        request_id: str,
        strategy: str,
        served: Served,
        n: int,
        exclude: Sequence[str],
        wanted: Filter | None,
    ) -> Recommendations:
        ranked = served.found[:n]
        if len(ranked) < n:
            ranked = self._fill(ranked, n, exclude, wanted)
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

    def _fill(self, ranked: Ranked, n: int, exclude: Sequence[str], wanted: Filter | None) -> Ranked:
        def allowed(item_id: str) -> bool:
            return self._source.overlay.matches(item_id, wanted)

        return fill(ranked, self._source.popular.ranked(wanted), n, exclude, allowed)


def _why_unknown(model: str, answered: str) -> str:
    if NO_USERS in answered:
        return f"snapshots of {model} tell nothing of users; ask a model of an algorithm that does"
    return f"user_id is unknown to the snapshot of {model}; it is known once one was cut after an interaction"
