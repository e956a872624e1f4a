"""The spec in force: the RecommenderModel's if it is sound, else the last sound one, which ``<model>-spec`` holds.

The ConfigMap is what the model's other services read; it never holds a spec that they could not use.
"""

from typing import Any, Final

import msgspec
import structlog
import yaml

from sluice import models
from sluice.errors import Conflict, InvalidModel, StorageUnavailable
from sluice.model import ModelSpec
from sluice_operator.conditions import Problem
from sluice_operator.kubernetes.config_maps import ConfigMaps
from sluice_operator.kubernetes.objects import GENERATION, UID, ConfigMap, Metadata, whole
from sluice_operator.kubernetes.spec_readers import SpecReaders
from sluice_operator.news import News

_LOG = structlog.get_logger()
FILE: Final = "model.yaml"


class SpecsInForce:
    """Reads specs for one model and keeps its ConfigMap."""

    def __init__(self, config_maps: ConfigMaps, readers: SpecReaders, model: str) -> None:
        self._config_maps, self._name, self._source = config_maps, f"{model}-spec", model
        self._readers = readers
        self._last: ModelSpec | None = None
        self._news = News()

    def of(self, document: dict[str, Any]) -> tuple[ModelSpec | None, Problem | None]:
        """Return the spec in force for a RecommenderModel as it is, and why not all follow the one in it.

        No spec if no sound one was ever seen. Raises :class:`~sluice.errors.StorageUnavailable` if that cannot be
        known, and :class:`~sluice.errors.Conflict` if somebody wrote the ConfigMap meanwhile.
        """
        text = _text(document)
        try:
            self._last = models.parse(text.encode(), self._source).spec
        except InvalidModel as error:
            sentence = f"{'; '.join(error.problems)}. Until then the last good spec is in force."
            return self._last or self._kept(), Problem("InvalidSpec", sentence)
        return self._last, self._keep(text, msgspec.convert(document["metadata"], Metadata))

    def _keep(self, text: str, model: Metadata) -> Problem | None:
        """Write the ConfigMap; if that fails the rollout goes on, and the next pass tries it again."""
        try:
            present = self._config_maps.read(self._name)
            if present is not None and (newer := _generation(present, model)) > model.generation:
                raise StorageUnavailable(
                    f"{self._name} holds generation {newer}, not {model.generation}; delete it if nobody wrote it"
                )
            made = {UID: model.uid, GENERATION: str(model.generation)}
            if self._config_maps.write(self._name, {FILE: text}, present, made):
                self._readers.hurry(self._name, f"{model.uid}.{model.generation}")
        except Conflict:
            raise
        except StorageUnavailable as error:
            if self._news.broke(str(error)):
                _LOG.warning(
                    "spec cannot be handed to the model's services now", model=self._source, reason=str(error)
                )
            return Problem("SpecNotPublished", str(error))
        if self._news.mended():
            _LOG.info("spec is handed to the model's services again", model=self._source)
        return None

    def _kept(self) -> ModelSpec | None:
        """Return the last sound spec that this process, or one before it, has seen."""
        present = self._config_maps.read(self._name)
        try:
            text = present.data.get(FILE, "") if present is not None else ""
            self._last = models.parse(text.encode(), self._name).spec
        except InvalidModel:
            self._last = None
        return self._last


def _generation(present: ConfigMap, model: Metadata) -> int:
    """Return which generation of ``model`` a ConfigMap holds; 0 if another's, or what is no number."""
    annotations = present.metadata.annotations
    return whole(annotations, GENERATION) if annotations.get(UID) == model.uid else 0


def _text(document: dict[str, Any]) -> str:
    """Return the file that services read: what was applied, without what only the API server knows."""
    metadata = document["metadata"]
    kept = {
        "apiVersion": document.get("apiVersion"),
        "kind": document.get("kind"),
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        "spec": document.get("spec"),
    }
    return yaml.safe_dump(kept, sort_keys=True, allow_unicode=True)
