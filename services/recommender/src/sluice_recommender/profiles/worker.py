"""The profiles process, from settings to SIGTERM."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from sluice import statsd, status
from sluice.backing import Backing
from sluice.embedded.home import lock
from sluice.errors import StorageUnavailable
from sluice.experiment import Dealt, Experiment
from sluice.following import ModelFiles, awaited, watch
from sluice.lifetime import Lifetime
from sluice.metrics import Process
from sluice.model import RecommenderModel, seconds
from sluice.topics import topics_of
from sluice_recommender.profiles.credit import Credit, CreditedModel
from sluice_recommender.profiles.health import Health
from sluice_recommender.profiles.ledger import Ledger
from sluice_recommender.profiles.process import PAUSE_S, ProfilesProcess, Stores
from sluice_recommender.settings import (
    ProfilesSettings,
    experiment_of,
    model_paths,
    models_of,
    one_source,
)

_log = structlog.get_logger()


def build(
    backing: Backing, models: Sequence[RecommenderModel], folder: Path, dealt: Experiment | None = None
) -> ProfilesProcess:
    """Return the process; ``folder`` holds its own ledger of attribution, ``dealt`` is an experiment to credit."""
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


def run(settings: ProfilesSettings, lifetime: Lifetime) -> None:
    """Run until the end of ``lifetime``; raises :class:`InvalidSetting` if another one works in this folder.

    Models that are followed are waited for, and others that come to be there end the life of this one.
    """
    health = Health()
    if not settings.follow_model:
        models = models_of(settings)
        with lock(_lock_of(settings, models)):
            _serve_status(settings, health)
            _run(settings, models, lifetime.over, health)
        return
    _check(settings, ())
    files = ModelFiles(model_paths(settings), lambda found: _check(settings, found), _relevant)
    health.idle = True
    _serve_status(settings, health)
    if found := awaited(files, lifetime.over):
        health.idle = False
        looking = watch(files, lifetime.begin_anew)
        with lock(_lock_of(settings, found)):
            _run(settings, found, lifetime.over, health)
        looking.stop()


def _relevant(model: RecommenderModel) -> object:
    """Return what profiles and credit use of a model: another gate, pin or pause begins no new life."""
    return model.key, model.spec.source


def _check(settings: ProfilesSettings, models: Sequence[RecommenderModel]) -> None:
    """Raise :class:`InvalidSetting` if the settings do not fit the models, of which there may be none."""
    if models:
        one_source(models)
    experiment_of(settings, [model.key for model in models])


def _lock_of(settings: ProfilesSettings, models: Sequence[RecommenderModel]) -> Path:
    return settings.folder / f"profiles-{one_source(models)}"


def _serve_status(settings: ProfilesSettings, health: Health) -> None:
    if settings.metrics_port:
        status.serve(
            settings.metrics_host,
            settings.metrics_port,
            ready=health.not_ready,
            stuck=lambda: health.stuck(time.monotonic()),
        )


def _run(
    settings: ProfilesSettings,
    models: Sequence[RecommenderModel],
    stopping: threading.Event,
    health: Health,
) -> None:
    backing = Backing(settings)
    dealt = experiment_of(settings, [model.key for model in models])
    with statsd.Pusher(settings.statsd, Process.PROFILES):
        process = wait_for(lambda: build(backing, models, settings.folder, dealt), stopping)
        if process is not None:
            health.process = process
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
