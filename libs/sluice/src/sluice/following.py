"""Follows RecommenderModel files that may be missing and may change, as Kubernetes mounts a ConfigMap.

Content is what counts: a mounted file is swapped by a link, so its time stamps say little. A file that vanishes
changes nothing, for whoever serves a model does so until there is another one.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog

from sluice import models
from sluice.errors import InvalidModel, SluiceError
from sluice.loops import Loop
from sluice.model import RecommenderModel

LOOK_S: Final = 1.0
NO_MODEL: Final = "no model yet; apply the RecommenderModel, then this goes on by itself"
Check = Callable[[Sequence[RecommenderModel]], object]
Relevant = Callable[[RecommenderModel], object]
_log = structlog.get_logger()


def _whole(model: RecommenderModel) -> RecommenderModel:
    return model


class ModelFiles:
    """``models`` are those of the files that are there, as they last were usable; none while there is no file.

    ``check`` raises :class:`~sluice.errors.SluiceError` for models that cannot be served (together). ``relevant``
    returns what a service uses of a model: one that differs elsewhere only, say in a gate, is no change.
    """

    def __init__(self, paths: Sequence[Path], check: Check = tuple, relevant: Relevant = _whole) -> None:
        self._paths, self._check, self._relevant = paths, check, relevant
        self._seen: dict[Path, bytes | str] = {}
        self._read: dict[Path, RecommenderModel] = {}
        self.models: tuple[RecommenderModel, ...] = ()

    def changed(self) -> bool:
        """Look at the files; return whether ``models`` are others now. What is unusable is told once."""
        if not [path for path in self._paths if self._is_news(path)]:
            return False
        found = tuple(self._read[path] for path in self._paths if path in self._read)
        if list(map(self._relevant, found)) == list(map(self._relevant, self.models)):
            return False
        try:
            self._check(found)
        except SluiceError as error:
            self._refuse(", ".join(map(str, self._paths)), error)
            return False
        self.models = found
        _log.info("models read", models=[model.key for model in found])
        return True

    def _is_news(self, path: Path) -> bool:
        """Return whether a file holds another usable model than at the last look."""
        try:
            seen: bytes | str = models.content(path)
        except InvalidModel as error:
            if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                return False
            seen = str(error)
        if self._seen.get(path) == seen:
            return False
        self._seen[path] = seen
        try:
            if isinstance(seen, str):
                raise InvalidModel([seen])
            self._read[path] = models.parse(seen, str(path))
        except InvalidModel as error:
            self._refuse(str(path), error)
            return False
        return True

    def _refuse(self, path: str, error: SluiceError) -> None:
        serving = [model.key for model in self.models]
        _log.error(
            "model file unusable, the last good one stays", path=path, reason=str(error), models=serving
        )


def awaited(files: ModelFiles, over: threading.Event) -> tuple[RecommenderModel, ...]:
    """Return the models once there are any; none once ``over`` is set."""
    while not files.changed() and not over.wait(LOOK_S):
        pass
    return () if over.is_set() else files.models


def watch(files: ModelFiles, changed: Callable[[], object]) -> Loop:
    """Return the running loop that calls ``changed`` whenever the models have become others."""

    def look() -> None:
        if files.changed():
            changed()

    loop = Loop("models", LOOK_S, look)
    loop.start()
    return loop
