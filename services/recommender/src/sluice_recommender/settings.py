"""Settings of ``sluice-recommender``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, get_args
from urllib.parse import urlsplit

from msgspec import Meta

from sluice import experiment as experiments
from sluice import models
from sluice.entities import CAPACITY
from sluice.errors import InvalidSetting
from sluice.experiment import Experiment
from sluice.model import RecommenderModel
from sluice.settings import FollowModel, Port, Settings
from sluice.web.server import ServerSettings
from sluice_recommender.api.keys import ADMIN, Policy, Scope

Urls = Annotated[
    str,
    Meta(
        description="Base URLs, comma separated; or per model: <namespace>.<name>=<urls>;<namespace>.<name>=<urls>."
        " dns+http://name:port stands for every address the name has, looked up each second."
    ),
]


ExperimentSetting = Annotated[
    str,
    Meta(
        description="Experiment between models, NAME@DATE: MODEL=PERCENT, MODEL=PERCENT, the same for API and"
        " profiles; deals users of requests that name no model to these; empty = the first model answers."
    ),
]


class ApiSettings(ServerSettings, frozen=True, kw_only=True):
    """Settings of ``sluice-recommender api``; ``model_file`` may name several files, comma separated."""

    follow_model: FollowModel = False
    faiss_stable_urls: Urls = ""
    faiss_canary_urls: Urls = ""
    overlay_items: Annotated[int, Meta(ge=1, description="So many items the overlay of a worker knows.")] = (
        CAPACITY
    )
    experiment: ExperimentSetting = ""
    keys_file: Annotated[str, Meta(description="File of API keys, made by sluice keys; empty = none.")] = ""
    require_keys: Annotated[
        str, Meta(description="Scopes that need a key beside admin: read, write, or both, comma separated.")
    ] = ""
    local: Annotated[
        bool, Meta(description="Whether this is one machine's own platform, where admin needs no key.")
    ] = False

    @property
    def keys_path(self) -> Path | None:
        """``keys_file`` as a path."""
        return Path(self.keys_file) if self.keys_file else None


class ProfilesSettings(Settings, frozen=True, kw_only=True):
    """Settings of ``sluice-recommender profiles``; ``model_file`` may name several files, comma separated."""

    follow_model: FollowModel = False
    experiment: ExperimentSetting = ""
    ledger_folder: Annotated[
        str, Meta(description="Folder of this process's ledger of attribution, never shared; empty = home.")
    ] = ""

    metrics_port: Annotated[Port, Meta(description="Port of /metrics, /healthz and /readyz; 0 = none.")] = 0
    metrics_host: Annotated[str, Meta(description="Address of /metrics, /healthz and /readyz.")] = "127.0.0.1"

    @property
    def folder(self) -> Path:
        """``ledger_folder`` as a path."""
        return Path(self.ledger_folder) if self.ledger_folder else self.home_path


def models_of(settings: Settings) -> list[RecommenderModel]:
    """Read the model files; raises :class:`InvalidSetting` if none is named or they cannot be served together."""
    loaded = [models.load(path) for path in model_paths(settings)]
    one_source(loaded)
    return loaded


def model_paths(settings: Settings) -> list[Path]:
    """Return the model files; raises :class:`InvalidSetting` if none is named."""
    named = [Path(name) for name in listed(settings.model_file)]
    if not named:
        raise InvalidSetting("SLUICE_MODEL_FILE is empty; set it to a RecommenderModel file")
    return named


def one_source(models: Sequence[RecommenderModel]) -> str:
    """Return the source all models read; a process serves one source, and each model once."""
    if len({model.key for model in models}) != len(models):
        raise InvalidSetting("SLUICE_MODEL_FILE names a model twice; give each <namespace>.<name> once")
    names = {model.spec.source.name for model in models}
    if len(names) != 1:
        raise InvalidSetting(
            f"SLUICE_MODEL_FILE names models of the sources {', '.join(sorted(names))};"
            " run one process per source"
        )
    return names.pop()


def listed(text: str) -> list[str]:
    """Return the words of a comma separated list."""
    return [word.strip() for word in text.split(",") if word.strip()]


def pod_urls(text: str, name: str, models: Sequence[str], *, more: bool = False) -> dict[str, list[str]]:
    """Return the base URLs of each model's pods, by model key; a plain list is every model's.

    Raises :class:`InvalidSetting` for one that is not http, and for models named wrongly, twice or not at all; with
    ``more``, others may be named beside.
    """
    if "=" not in text.partition("://")[0]:
        urls = _base_urls(text, name)  # checked also while there is no model
        return dict.fromkeys(models, urls)
    groups = [group.partition("=")[::2] for group in text.split(";") if group.strip()]
    named = [model.strip() for model, _ in groups]
    expected = [*models, *(set(named) - set(models) if more else ())]
    if sorted(named) != sorted(expected):
        raise InvalidSetting(
            f"SLUICE_{name} names the models {', '.join(named)}; name each of {', '.join(models)} once"
        )
    return {model.strip(): _base_urls(found, name) for model, found in groups}


def _base_urls(text: str, name: str) -> list[str]:
    found = [word.rstrip("/") for word in listed(text)]
    for url in found:
        if not url.startswith(("http://", "https://", "dns+http://")) or not _has_place(url):
            raise InvalidSetting(
                f"SLUICE_{name} names {url!r}; write http://host:port or dns+http://name:port"
            )
    return found


def _has_place(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # no port is written so
        return False


def experiment_of(settings: ApiSettings | ProfilesSettings, models: Sequence[str]) -> Experiment | None:
    """Return the experiment, None if there is none; a model that is followed may be missing, and then it waits.

    Raises :class:`InvalidSetting` for a setting that is none.
    """
    if settings.follow_model:
        named = experiments.named(settings.experiment)
        experiments.parse(settings.experiment, named)
        there = {name for key in models for name in (key, key.partition(".")[2])}
        if not there.issuperset(named):
            return None
    return experiments.parse(settings.experiment, models)


def policy_of(settings: ApiSettings) -> Policy:
    """Return which scopes need a key; raises :class:`InvalidSetting` for one that is none."""
    required = frozenset(listed(settings.require_keys))
    known = set(get_args(Scope))
    if not required <= known:
        raise InvalidSetting(
            f"SLUICE_REQUIRE_KEYS names {', '.join(sorted(required - known))}; name read, write, or both"
        )
    return Policy(required - {ADMIN}, local=settings.local)  # type: ignore[arg-type]  # the known words are scopes
