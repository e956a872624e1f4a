"""Reads RecommenderModel files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from sluice import conversion
from sluice.errors import InvalidModel
from sluice.lint import check
from sluice.model import RecommenderModel

MAX_BYTES = 256 * 1024


def load(path: Path) -> RecommenderModel:
    """Read and check a model file; raises :class:`InvalidModel` with one sentence per problem."""
    return parse(content(path), str(path))


def content(path: Path) -> bytes:
    """Read a model file; raises :class:`InvalidModel` if it cannot be read or is too large to be one."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidModel([f"{path}: {error.strerror}; give an existing RecommenderModel file"]) from error
    if len(data) > MAX_BYTES:
        raise InvalidModel([f"{path}: over {MAX_BYTES} bytes; a RecommenderModel is smaller"])
    return data


def parse(data: bytes, name: str) -> RecommenderModel:
    """Read and check one YAML document."""
    try:
        document: Any = yaml.safe_load(data)
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidModel([f"{name}: not YAML: {' '.join(str(error).split())}"]) from error
    try:
        model = msgspec.convert(document, RecommenderModel)
    except msgspec.ValidationError as error:
        wrong = conversion.problems(document, RecommenderModel)
        raise InvalidModel([f"{name}: {problem}; correct the field" for problem in wrong]) from error
    breaks = _line_breaks(msgspec.to_builtins(model), "")
    problems = [f"{place} ends with a line break; remove it" for place in breaks] or check(model)
    if problems:
        raise InvalidModel([f"{name}: {problem}" for problem in problems])
    return model


def _line_breaks(value: Any, place: str) -> Iterator[str]:
    """Yield where a text ends with a line break: Python's ``$`` lets it pass, a Kubernetes API server does not."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _line_breaks(child, f"{place}.{key}" if place else key)
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            yield from _line_breaks(child, f"{place}[{index}]")
    elif isinstance(value, str) and value.endswith("\n"):
        yield place
