"""Settings of ``sluice-recommender``."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from sluice import models
from sluice.errors import InvalidSetting
from sluice.model import RecommenderModel
from sluice.settings import Port, Settings
from sluice.web.server import ServerSettings

Urls = Annotated[str, Meta(description="Base URLs, comma separated.")]


class ApiSettings(ServerSettings, frozen=True, kw_only=True):
    """Settings of ``sluice-recommender api``; ``model_file`` may name several files, comma separated."""

    faiss_stable_urls: Urls = ""
    faiss_canary_urls: Urls = ""


class ProfilesSettings(Settings, frozen=True, kw_only=True):
    """Settings of ``sluice-recommender profiles``."""

    metrics_port: Annotated[Port, Meta(description="Port of /metrics; 0 = none.")] = 0
    metrics_host: Annotated[str, Meta(description="Address of /metrics.")] = "127.0.0.1"


def models_of(settings: Settings) -> list[RecommenderModel]:
    """Read the model files; raises :class:`InvalidSetting` if none is named or two have one key."""
    loaded = [models.load(Path(name)) for name in listed(settings.model_file)]
    if not loaded:
        raise InvalidSetting("SLUICE_MODEL_FILE is empty; set it to a RecommenderModel file")
    if len({model.key for model in loaded}) != len(loaded):
        raise InvalidSetting("SLUICE_MODEL_FILE names a model twice; give each <namespace>.<name> once")
    return loaded


def one_source(models: list[RecommenderModel]) -> str:
    """Return the source all models read; a process serves one source."""
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


def urls(text: str, name: str) -> list[str]:
    """Return base URLs; raises :class:`InvalidSetting` for one that is not http."""
    found = [word.rstrip("/") for word in listed(text)]
    for url in found:
        if not url.startswith(("http://", "https://")):
            raise InvalidSetting(f"SLUICE_{name} names {url!r}; write http://host:port")
    return found
