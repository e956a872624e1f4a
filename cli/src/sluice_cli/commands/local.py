"""Options that name the local platform, and what they stand for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from sluice_cli.commands.shell import InputError, at_end

if TYPE_CHECKING:
    from sluice.backing import Backing
    from sluice.catalog import Catalog
    from sluice_operator.embedded import EmbeddedRollout

DEFAULT_HOME: Final = Path(".sluice")
_EXPERIMENT: Final = "experiment."
"""Begins the names of files that hold an experiment's evidence, where there is no model of that name."""

HomeOption = Annotated[Path, typer.Option("--home", help="Folder of the local platform.")]
FileOption = Annotated[
    Path | None, typer.Option("-f", "--file", help="RecommenderModel file that names the model.")
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Key of the model, NAMESPACE.NAME; needed if there are several.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def model_key(home: Path, file: Path | None, model: str | None, kind: str) -> str:
    """Return the key of the model meant: given, read from ``file``, or the only one in ``home``.

    ``kind`` is ``rollout`` or ``model``: of which models ``home`` holds the rollout, or knows anything. A key's
    name will do where it is unique. Raises :class:`InputError` if none is there or more than one could be meant.
    """
    there = _models(home, kind)
    if file is not None:
        from sluice import models

        model = models.load(file).key
    if not there:
        raise InputError(f"{home} holds no local platform; start one with sluice up, or give its --home")
    if model is None and len(there) > 1:
        raise InputError(f"{home} holds several models; give --model as one of {', '.join(there)}")
    meant = [key for key in there if model in (None, key)] or [
        key for key in there if key.partition(".")[2] == model
    ]
    if len(meant) != 1:
        raise InputError(f"{home} does not know model {model}; it holds {', '.join(there)}")
    return meant[0]


def _models(home: Path, kind: str) -> list[str]:
    """Return the keys of the models in ``home``; a catalog in MongoDB leaves only the rollout's file there."""
    rolled = _named(home, "rollout")
    known = rolled if kind == "rollout" else rolled | _named(home, kind)
    return sorted(key for key in known if key in rolled or not key.startswith(_EXPERIMENT))


def experiments(home: Path) -> set[str]:
    """Return the experiments whose evidence is in files of ``home``."""
    return {key.removeprefix(_EXPERIMENT) for key in _named(home, "model") if key.startswith(_EXPERIMENT)}


def _named(home: Path, kind: str) -> set[str]:
    return {path.stem.removeprefix(f"{kind}-") for path in home.glob(f"{kind}-*.db")}


def open_backing(home: Path) -> "Backing":
    """Return what the platform in ``home`` stands on, until the command ends."""
    from sluice.backing import Backing
    from sluice_cli.connections import settings_of

    backing = Backing(settings_of(home))
    at_end(backing.close)
    return backing


def open_catalog(home: Path, key: str) -> "Catalog":
    """Return the catalog of a model of ``home``."""
    return open_backing(home).catalog(key)


def open_rollout(home: Path, key: str) -> "EmbeddedRollout":
    """Return state, commands and notes of a model's local rollout."""
    from sluice.embedded.home import Home
    from sluice_operator.embedded import EmbeddedRollout

    return EmbeddedRollout(Home(home).rollout(key))


def dataset_names(incomplete: str) -> list[str]:
    """Return the data sets that begin so, for shell completion."""
    from sluice_cli.datasets import SOURCES

    return [name for name in SOURCES if name.startswith(incomplete)]
