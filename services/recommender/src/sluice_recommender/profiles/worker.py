"""The profiles process, from settings to SIGTERM."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from sluice import statsd, status
from sluice.backing import Backing
from sluice.embedded.home import lock
from sluice.errors import StorageUnavailable
from sluice.experiment import Dealt, Experiment, parse
from sluice.metrics import Process
from sluice.model import RecommenderModel, seconds
from sluice.topics import topics_of
from sluice_recommender.profiles.credit import Credit, CreditedModel
from sluice_recommender.profiles.ledger import Ledger
from sluice_recommender.profiles.process import PAUSE_S, ProfilesProcess, Stores
from sluice_recommender.settings import ProfilesSettings, one_source

_log = structlog.get_logger()


def build(
    backing: Backing, models: list[RecommenderModel], folder: Path, experiment: str = ""
) -> ProfilesProcess:
    """Return the process; ``folder`` holds its own ledger of attribution, ``experiment`` is the setting."""
    source = one_source(models)
    log, topics = backing.log(source), topics_of(source)
    ledger = Ledger(folder / f"attribution-{source}.db", topics)
    stores = Stores(
        backing.profiles(source),
        backing.popularity(source),
        backing.items(source),
        ledger,
        backing.together(source),
    )
    credited = [_credited(backing, model) for model in models]
    dealt = parse(experiment, [model.key for model in models])
    if dealt is not None:
        credited.append(_credited_in(dealt, backing, max(each.window_ms for each in credited)))
    weights = {kind: float(weight) for kind, weight in models[0].spec.source.event_weights.items()}
    try:
        return ProfilesProcess(log, source, weights, stores, Credit(ledger, credited, topics.answers))
    except StorageUnavailable:
        log.close()
        raise


def _credited(backing: Backing, model: RecommenderModel) -> CreditedModel:
    window_ms = int(seconds(model.spec.source.attribution_window) * 1e3)
    return CreditedModel(model.key, window_ms, backing.routing(model.key), backing.evidence(model.key))


def _credited_in(experiment: Experiment, backing: Backing, window_ms: int) -> CreditedModel:
    evidence = backing.experiment(experiment.name)
    return CreditedModel(experiment.rollout, window_ms, Dealt(experiment), evidence, experiment)


def run(settings: ProfilesSettings, models: list[RecommenderModel]) -> None:
    """Run until SIGTERM or SIGINT; raises :class:`InvalidSetting` if another one works in this folder."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with lock(settings.folder / f"profiles-{one_source(models)}"):
        _run(settings, models, stopping)


def _run(settings: ProfilesSettings, models: list[RecommenderModel], stopping: threading.Event) -> None:
    if settings.metrics_port:
        status.serve(settings.metrics_host, settings.metrics_port)
    backing = Backing(settings)
    with statsd.Pusher(settings.statsd, Process.PROFILES):
        process = wait_for(lambda: build(backing, models, settings.folder, settings.experiment), stopping)
        if process is not None:
            _log.info("keeping profiles", models=[model.key for model in models])
            process.run(stopping)


def wait_for(build: Callable[[], ProfilesProcess], stopping: threading.Event) -> ProfilesProcess | None:
    """Return the process, once what it stands on is there; None if that is not before ``stopping``."""
    while not stopping.is_set():
        try:
            return build()
        except StorageUnavailable as error:
            _log.error("storage unavailable, waiting", reason=str(error))
            stopping.wait(PAUSE_S)
    return None
