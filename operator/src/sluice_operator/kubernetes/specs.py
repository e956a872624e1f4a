"""The spec in force: the RecommenderModel's if it is sound, else the last sound one, which ``<model>-spec`` holds.

The ConfigMap is what the model's other services read; it never holds a spec that they could not use.
"""

from typing import Any, Final

import structlog
import yaml

from sluice import models
from sluice.errors import InvalidModel, SluiceError
from sluice.model import ModelSpec
from sluice_operator.kubernetes.config_maps import ConfigMaps

_LOG = structlog.get_logger()
FILE: Final = "model.yaml"


class SpecsInForce:
    """Reads specs for one model and keeps its ConfigMap."""

    def __init__(self, config_maps: ConfigMaps, model: str) -> None:
        self._config_maps, self._name, self._source = config_maps, f"{model}-spec", model
        self._last: ModelSpec | None = None

    def of(self, document: dict[str, Any]) -> tuple[ModelSpec | None, tuple[str, ...]]:
        """Return the spec in force for a RecommenderModel as it is, and what is wrong with the one in it.

        None if no sound one was ever seen. Raises :class:`~sluice.errors.StorageUnavailable` if that cannot be known.
        """
        text = _text(document)
        try:
            self._last = models.parse(text.encode(), self._source).spec
        except InvalidModel as error:
            return self._last or self._kept(), tuple(error.problems)
        self._keep(text)
        return self._last, ()

    def _keep(self, text: str) -> None:
        """Write the ConfigMap; if that fails the rollout goes on, and the next pass tries it again."""
        try:
            self._config_maps.write(self._name, {FILE: text}, self._config_maps.read(self._name))
        except SluiceError as error:
            _LOG.error(
                "spec cannot be handed to the model's services now", model=self._source, reason=str(error)
            )

    def _kept(self) -> ModelSpec | None:
        """Return the last sound spec that this process, or one before it, has seen."""
        present = self._config_maps.read(self._name)
        try:
            text = present.data.get(FILE, "") if present is not None else ""
            self._last = models.parse(text.encode(), self._name).spec
        except InvalidModel:
            self._last = None
        return self._last


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
