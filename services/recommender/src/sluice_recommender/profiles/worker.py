"""The profiles process over the embedded adapters, from settings to SIGTERM."""

import signal
import threading

import structlog

from sluice import statsd, status
from sluice.embedded.home import Home, lock
from sluice.embedded.models import EmbeddedEvidence, EmbeddedRouting
from sluice.embedded.sources import EmbeddedItems, EmbeddedPopularity, EmbeddedProfiles
from sluice.metrics import Process
from sluice.model import RecommenderModel, seconds
from sluice.topics import topics_of
from sluice_recommender.profiles.credit import Credit, CreditedModel
from sluice_recommender.profiles.ledger import Ledger
from sluice_recommender.profiles.process import ProfilesProcess, Stores
from sluice_recommender.settings import ProfilesSettings, one_source

_log = structlog.get_logger()


def build(home: Home, models: list[RecommenderModel]) -> ProfilesProcess:
    """Return the process over the embedded adapters."""
    source = one_source(models)
    database, topics = home.source(source), topics_of(source)
    log = home.log(source)
    ledger = Ledger(home.folder / f"attribution-{source}.db", topics)
    stores = Stores(
        EmbeddedProfiles(database),
        EmbeddedPopularity(database),
        EmbeddedItems(database),
        ledger,
        database.writing,
    )
    credited = [_credited(home, model) for model in models]
    weights = {kind: float(weight) for kind, weight in models[0].spec.source.event_weights.items()}
    return ProfilesProcess(log, source, weights, stores, Credit(ledger, credited, topics.answers))


def _credited(home: Home, model: RecommenderModel) -> CreditedModel:
    database = home.model(model.key)
    window_ms = int(seconds(model.spec.source.attribution_window) * 1e3)
    return CreditedModel(model.key, window_ms, EmbeddedRouting(database), EmbeddedEvidence(database))


def run(settings: ProfilesSettings, models: list[RecommenderModel]) -> None:
    """Run until SIGTERM or SIGINT; raises :class:`InvalidSetting` if the source has such a process already."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    home = Home(settings.home_path)
    with lock(home.folder / f"profiles-{one_source(models)}"):
        _run(settings, home, models, stopping)


def _run(
    settings: ProfilesSettings, home: Home, models: list[RecommenderModel], stopping: threading.Event
) -> None:
    process = build(home, models)
    if settings.metrics_port:
        status.serve(settings.metrics_host, settings.metrics_port)
    _log.info("keeping profiles", models=[model.key for model in models])
    with statsd.Pusher(settings.statsd, Process.PROFILES):
        process.run(stopping)
