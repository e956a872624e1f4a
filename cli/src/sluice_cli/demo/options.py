"""What may be asked of a demo run."""

from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from sluice.errors import InvalidSetting
from sluice.settings import Settings
from sluice_cli import connections

DEFAULT_DATASET: Final = "ml-latest-small"
DEFAULT_PORT: Final = 8080


class DemoAlgorithm(StrEnum):
    """The learners the demo can show."""

    GMF = "GMF"
    CO_VISITATION = "CoVisitation"
    POPULAR = "Popular"


class DemoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    ``events`` is a file of one's own instead of ``dataset``; ``speed`` in events per second, None = as fast
    as it is taken; ``limit`` keeps the oldest so many interactions. Without ``sabotage`` no bad candidate is
    let through; ``once`` ends the run after its report. ``home`` None = a temporary folder, removed at the
    end. ``model`` None = the demo's own RecommenderModel. ``real`` starts Kafka, MongoDB and Redis for the run;
    ``connected`` names servers that run already.
    """

    dataset: str = DEFAULT_DATASET
    events: Path | None = None
    algorithm: str = DemoAlgorithm.GMF.value
    speed: float | None = None
    limit: int | None = None
    sabotage: bool = True
    once: bool = False
    report: Path | None = None
    page: Path = Path("demo-report.html")
    home: Path | None = None
    port: int = DEFAULT_PORT
    model: Path | None = None
    real: bool = False
    connected: Settings = connections.NONE

    @property
    def source(self) -> str:
        """The name :func:`sluice_cli.datasets.resolve` takes: the data set, or ``file:PATH``."""
        return self.dataset if self.events is None else f"file:{self.events}"


def check(options: DemoOptions) -> DemoOptions:
    """Return ``options``; raises :class:`InvalidSetting` if options contradict each other or name unusable files."""
    if options.real and connections.connected(options.connected):
        raise InvalidSetting(
            "--real starts servers of its own; leave it out, or --kafka, --mongo and --redis"
        )
    for flag, path in (("--events", options.events), ("-f", options.model)):
        if path is not None and not path.is_file():
            raise InvalidSetting(f"{flag} {path}: there is no such file; name an existing one")
    for flag, path in (("--page", options.page), ("--report", options.report)):
        if path is not None and not path.absolute().parent.is_dir():
            raise InvalidSetting(f"{flag} {path}: its folder does not exist; create it or choose another")
    return options
