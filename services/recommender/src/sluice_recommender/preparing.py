"""``sluice-recommender prepare``: the topics of a source, and the indexes of its models, before anything runs.

Doing it again changes nothing, so that it can be run before every installation and upgrade.
"""

from typing import Annotated, Final

import stamina
import structlog
from msgspec import Meta

from sluice.errors import InvalidSetting, StorageUnavailable
from sluice.prepare import PARTITIONS, Told, prepare_names
from sluice.settings import Settings
from sluice_recommender.settings import listed

LONGEST_PAUSE_S: Final = 5.0
_log = structlog.get_logger()


class PrepareSettings(Settings, frozen=True, kw_only=True):
    """Settings of ``sluice-recommender prepare``."""

    source: Annotated[str, Meta(description="Source whose topics are to be there.")] = ""
    models: Annotated[
        str, Meta(description="<namespace>.<name> of the models that read it, comma separated; may be none.")
    ] = ""
    partitions: Annotated[
        int, Meta(ge=1, le=10_000, description="Partitions of each topic, if none of them exists yet.")
    ] = PARTITIONS
    wait_seconds: Annotated[
        float, Meta(ge=0, le=3_600, description="How long servers that do not answer are waited for.")
    ] = 300.0


def run(settings: PrepareSettings) -> list[Told]:
    """Prepare what the settings name; return what was done.

    Raises :class:`InvalidSetting` without a source, or for a model that is no key, and
    :class:`StorageUnavailable` if a server does not answer in time.
    """
    models = listed(settings.models)
    if not settings.source:
        raise InvalidSetting("SLUICE_SOURCE is empty; set it to the source whose topics are to be made")
    for model in models:
        if model.count(".") != 1 or model.startswith(".") or model.endswith("."):
            raise InvalidSetting(f"SLUICE_MODELS names {model!r}; write <namespace>.<name>")
    for attempt in stamina.retry_context(
        on=StorageUnavailable,
        attempts=None,
        timeout=settings.wait_seconds,
        wait_initial=0.5,
        wait_max=LONGEST_PAUSE_S,
    ):
        with attempt:
            return _prepare(settings, models)
    raise AssertionError("the last attempt returns or raises")


def _prepare(settings: PrepareSettings, models: list[str]) -> list[Told]:
    try:
        return prepare_names(settings, [settings.source], models, settings.partitions)
    except StorageUnavailable as error:
        _log.error("storage unavailable, waiting", reason=str(error))
        raise
