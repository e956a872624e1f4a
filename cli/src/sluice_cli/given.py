"""The RecommenderModel files that one platform is given."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sluice import models
from sluice.errors import InvalidSetting
from sluice.model import RecommenderModel


class Given(NamedTuple):
    """A model and the file it was read from."""

    file: Path
    model: RecommenderModel


def load(files: Sequence[Path]) -> list[Given]:
    """Read model files that one platform can run side by side.

    Raises :class:`InvalidModel` for an unsound one, :class:`InvalidSetting` if two have one key or another source.
    """
    given = [Given(file.resolve(), models.load(file)) for file in files]
    if not given:
        raise InvalidSetting("no model is given; name a RecommenderModel file with -f")
    first = given[0]
    for place, each in enumerate(given):
        if "," in str(each.file):
            raise InvalidSetting(f"{each.file} has a comma in its path; rename it")
        for earlier in given[:place]:
            if earlier.model.key == each.model.key:
                raise InvalidSetting(
                    f"{earlier.file.name} and {each.file.name} both describe {each.model.key};"
                    " give each model a metadata.name of its own"
                )
        source, shared = each.model.spec.source.name, first.model.spec.source.name
        if source != shared:
            raise InvalidSetting(
                f"{first.file.name} reads source {shared}, {each.file.name} reads {source}; models side by side"
                " share one: set spec.source.name alike, or run sluice up with another --home and --port"
            )
    return given


def names(given: Sequence[Given]) -> list[str]:
    """Return what to call each model on this machine: its name, or its key where two namespaces have that name."""
    plain = [each.model.metadata.name for each in given]
    return [
        name if plain.count(name) == 1 else each.model.key for name, each in zip(plain, given, strict=True)
    ]
