"""One worker process of the API: adapters, background threads, app. Built after the fork."""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from sluice import statsd
from sluice.backing import Backing
from sluice.errors import StorageUnavailable
from sluice.evidence import EvidenceStore
from sluice.loops import Loop
from sluice.metrics import Process
from sluice.model import RecommenderModel
from sluice.overlay import Overlay
from sluice.overlay_tail import Tail
from sluice.routing import Routing
from sluice.topics import topics_of
from sluice_recommender.api import ending
from sluice_recommender.api.access import Access
from sluice_recommender.api.app import Data, create_app
from sluice_recommender.api.discovery import Discovery, begin, fixed, has_names
from sluice_recommender.api.ending import Last
from sluice_recommender.api.keys_file import KeysFile
from sluice_recommender.api.models import Models
from sluice_recommender.api.outbox import Outbox
from sluice_recommender.api.pods import CANARY_LAST_REST_S, LAST_REST_S, Pods
from sluice_recommender.api.readiness import Readiness
from sluice_recommender.api.recommender import Recommender, Source
from sluice_recommender.api.routes import RoutingTable
from sluice_recommender.api.shelf import Metadata, Popular
from sluice_recommender.api.tally import Tally, TallyWriter
from sluice_recommender.api.trial import Trial
from sluice_recommender.settings import ApiSettings, experiment_of, one_source, pod_urls, policy_of

ROUTING_S: Final = 0.1
ANSWERS_S: Final = 0.05
EVIDENCE_S: Final = 2.0
FIRST_ITEMS_S: Final = 30.0
EVIDENCE_END_S: Final = 5.0
ANSWERS_END_S: Final = 3.0
"""Together, with what remains, shorter than a worker's time to end (``GRACEFUL_S``)."""


class ApiWorker:
    """See :class:`~sluice.web.server.Worker`."""

    def __init__(self, settings: ApiSettings, models: Sequence[RecommenderModel]) -> None:
        self._settings, self._backing = settings, Backing(settings)
        source = one_source(models)
        log, topics = self._backing.log(source), topics_of(source)
        items, popularity = self._backing.items(source), self._backing.popularity(source)
        outbox = Outbox(log, topics.answers)
        overlay = Overlay(settings.overlay_items)
        self._tail = Tail(log, {topics.items: overlay})
        shared = Source(
            self._backing.profiles(source),
            Metadata(items, overlay),
            Popular(popularity, overlay),
            outbox,
            overlay,
        )
        self._log, self._topic, self._outbox = log, topics.interactions, outbox
        self._answers = Last(Loop("answers", ANSWERS_S, outbox.flush), outbox.flush)
        self._evidence: list[Last] = []
        self._loops: list[Loop] = [self._answers.loop]
        self._discoveries: list[Discovery] = []
        self._keys = [model.key for model in models]
        recommenders = [self._recommender(model, shared) for model in models]
        self._statsd = statsd.Pusher(settings.statsd, Process.API)
        keys = KeysFile(settings.keys_path)
        self._app = create_app(
            Models(recommenders, self._trial()),
            Data(log, topics, items, shared.profiles, patient=settings.threads - 1),
            Access(policy_of(settings), lambda: keys.keys),
            Readiness(
                {
                    "the overlay": self._tail.require_caught_up,
                    "the event log": lambda: log.end_offsets(topics.interactions),
                }
            ),
        )

    @property
    def wsgi(self) -> Callable[..., Any]:
        """The app."""
        return self._app

    def start(self) -> None:
        """Start the background threads; wait up to 30 s for the overlay to be live."""
        self._statsd.start()
        self._tail.start()
        looking_up = begin(self._discoveries)
        self._open_log()
        for loop in self._loops:
            loop.once()
            loop.start()
        self._loops += looking_up
        self._tail.caught_up.wait(FIRST_ITEMS_S)

    def _open_log(self) -> None:
        """Let the log be ready to take records before the first request brings some."""
        with contextlib.suppress(StorageUnavailable):
            self._log.append(self._topic, [])

    def stop(self) -> None:
        """Write out evidence, then answers: a log that is away keeps no evidence from being written."""
        ending.ask(self._loops)
        ending.finish(self._evidence, EVIDENCE_END_S)
        ending.finish([self._answers], ANSWERS_END_S)
        self._outbox.give_up()
        self._tail.stop()
        self._statsd.stop()

    def _trial(self) -> Trial | None:
        experiment = experiment_of(self._settings, self._keys)
        if experiment is None:
            return None
        return Trial(experiment, self._tally(self._backing.experiment(experiment.name), lambda: None))

    def _tally(self, store: EvidenceStore, routing: Callable[[], Routing | None]) -> Tally:
        """Return a tally whose rows are written to ``store`` every two seconds."""
        tally = Tally(f"requests/{socket.gethostname()}-{os.getpid()}-{time.time_ns() // 1_000_000}")
        writer = TallyWriter(tally, store, routing, time.time)
        self._evidence.append(Last(Loop("evidence", EVIDENCE_S, writer.flush), writer.flush))
        self._loops.append(self._evidence[-1].loop)
        return tally

    def _recommender(self, model: RecommenderModel, source: Source) -> Recommender:
        routes = RoutingTable(self._backing.routing(model.key))
        tally = self._tally(self._backing.evidence(model.key), lambda: routes.current)
        self._loops.append(Loop("routing", ROUTING_S, routes.poll))
        settings = self._settings
        stable = self._urls(settings.faiss_stable_urls, "FAISS_STABLE_URLS")[model.key]
        canary = self._urls(settings.faiss_canary_urls, "FAISS_CANARY_URLS")[model.key]
        return Recommender(
            model.key,
            source,
            routes,
            tally,
            self._pods(stable, LAST_REST_S, keep_last=True),
            self._pods(canary or stable, CANARY_LAST_REST_S, keep_last=False),
            exclude_seen=model.spec.serving.exclude_seen,
        )

    def _urls(self, text: str, name: str) -> dict[str, list[str]]:
        return pod_urls(text, name, self._keys, more=self._settings.follow_model)

    def _pods(self, urls: Sequence[str], last_rest_s: float, *, keep_last: bool) -> Pods:
        """Return pods that follow the names among ``urls`` once the worker starts."""
        pods = Pods(fixed(urls), self._settings.threads, last_rest_s=last_rest_s)
        if has_names(urls):
            self._discoveries.append(Discovery(pods, urls, keep_last=keep_last))
        return pods
