"""Options that name the local platform, and what they stand for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from sluice_cli.commands.shell import InputError

if TYPE_CHECKING:
    from sluice.embedded.models import EmbeddedCatalog
    from sluice_operator.embedded import EmbeddedRollout

DEFAULT_HOME: Final = Path(".sluice")

HomeOption = Annotated[Path, typer.Option("--home", help="Folder of the local platform.")]
FileOption = Annotated[
    Path | None, typer.Option("-f", "--file", help="RecommenderModel file that names the model.")
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Key of the model, NAMESPACE.NAME; needed if there are several.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def model_key(home: Path, file: Path | None, model: str | None, kind: str) -> str:
    """Return the key of the model meant: given, read from ``file``, or the only ``<kind>-*.db`` in ``home``.

    Raises :class:`InputError` if nothing of that kind is there or more than one could be meant.
    """
    there = sorted(path.stem.removeprefix(f"{kind}-") for path in home.glob(f"{kind}-*.db"))
    if file is not None:
        from sluice import models

        model = models.load(file).key
    if not there:
        raise InputError(f"{home} holds no local platform; start one with sluice up, or give its --home")
    if model is None and len(there) > 1:
        raise InputError(f"{home} holds several models; give --model as one of {', '.join(there)}")
    if model is not None and model not in there:
        raise InputError(f"{home} does not know model {model}; it holds {', '.join(there)}")
    return model or there[0]


def open_catalog(home: Path, key: str) -> "EmbeddedCatalog":
    """Return the catalog of a model in ``home``."""
    from sluice.embedded.home import Home
    from sluice.embedded.models import EmbeddedCatalog

    return EmbeddedCatalog(Home(home).model(key))


def open_rollout(home: Path, key: str) -> "EmbeddedRollout":
    """Return state, commands and notes of a model's local rollout."""
    from sluice.embedded.home import Home
    from sluice_operator.embedded import EmbeddedRollout

    return EmbeddedRollout(Home(home).rollout(key))


def dataset_names(incomplete: str) -> list[str]:
    """Return the data sets that begin so, for shell completion."""
    from sluice_cli.datasets import SOURCES

    return [name for name in SOURCES if name.startswith(incomplete)]
