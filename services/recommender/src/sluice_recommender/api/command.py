"""``sluice-recommender api``: checks the settings, then forks the workers, anew whenever a followed model changes."""

from collections.abc import Sequence

from sluice.following import ModelFiles
from sluice.model import RecommenderModel
from sluice.web.server import Worker, bind, serve
from sluice_recommender.api.keys_file import KeysFile
from sluice_recommender.settings import (
    ApiSettings,
    experiment_of,
    model_paths,
    models_of,
    one_source,
    pod_urls,
    policy_of,
)


def run(settings: ApiSettings) -> None:
    """Serve until SIGTERM; raises :class:`~sluice.errors.SluiceError` for settings or models that are unusable.

    Models that are followed may be missing or unusable: then those that were usable last are served, or none.
    """
    policy_of(settings)
    KeysFile(settings.keys_path)
    if not settings.follow_model:
        models = models_of(settings)
        check(settings, models)
        serve(settings, bind(settings), lambda: _worker(settings, models))
        return
    check(settings, ())
    files = ModelFiles(model_paths(settings), lambda found: check(settings, found), relevant)
    files.changed()
    serve(settings, bind(settings), lambda: _worker(settings, files.models), files.changed)


def relevant(model: RecommenderModel) -> object:
    """Return what the API uses of a model: for another gate, pin or pause no worker is replaced."""
    return model.key, model.spec.source, model.spec.serving.exclude_seen


def check(settings: ApiSettings, models: Sequence[RecommenderModel]) -> None:
    """Raise :class:`~sluice.errors.InvalidSetting` if the settings do not fit the models; there may be none."""
    if models:
        one_source(models)
    keys = [model.key for model in models]
    pod_urls(settings.faiss_stable_urls, "FAISS_STABLE_URLS", keys, more=settings.follow_model)
    pod_urls(settings.faiss_canary_urls, "FAISS_CANARY_URLS", keys, more=settings.follow_model)
    experiment_of(settings, keys)


def _worker(settings: ApiSettings, models: Sequence[RecommenderModel]) -> Worker:
    """Build what a worker process runs; only after the fork do metrics know their folder."""
    if not models:
        from sluice_recommender.api.idle import IdleWorker

        return IdleWorker(settings)
    from sluice_recommender.api.worker import ApiWorker

    return ApiWorker(settings, models)
