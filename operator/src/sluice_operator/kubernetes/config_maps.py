"""ConfigMaps that the operator keeps: written only where they say something else.

They have no owner reference: a deleted RecommenderModel leaves what serves, and what it serves from, as it is.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import structlog

from sluice.errors import StorageUnavailable
from sluice_operator.kubernetes.api import Api
from sluice_operator.kubernetes.objects import MODEL_LABEL, ConfigMap, core, labels, own

_LOG = structlog.get_logger()


class ConfigMaps:
    """The ConfigMaps about one model, by name."""

    def __init__(self, api: Api, namespace: str, model: str) -> None:
        self._api, self._namespace, self._model = api, namespace, model

    def read(self, name: str) -> ConfigMap | None:
        """Return one as it is now; None if there is none."""
        return self._api.get(core(self._namespace, "configmaps", name), ConfigMap)

    def write(
        self,
        name: str,
        data: dict[str, str],
        present: ConfigMap | None,
        annotations: Mapping[str, str] = MappingProxyType({}),
    ) -> bool:
        """Let one hold ``data``, where ``present`` is what :meth:`read` found; return whether it was written.

        Raises :class:`~sluice.errors.Conflict` if somebody wrote or made it meanwhile, and
        :class:`~sluice.errors.StorageUnavailable` if it is somebody else's.
        """
        if present is None:
            body = self._body(name, data, annotations)
            self._api.create(core(self._namespace, "configmaps"), body)
        elif present.metadata.labels.get(MODEL_LABEL) != self._model:
            raise StorageUnavailable(
                f"ConfigMap {name} is not labelled {MODEL_LABEL}={self._model}, so it is left alone; rename it"
            )
        elif not self._says(present, data, annotations):
            body = self._body(name, data, annotations, present)
            self._api.replace(core(self._namespace, "configmaps", name), body, ConfigMap)
        else:
            return False
        _LOG.info("config map written", config_map=name)
        return True

    def _says(self, present: ConfigMap, data: dict[str, str], annotations: Mapping[str, str]) -> bool:
        labelled = labels(self._model).items() <= present.metadata.labels.items()
        return (
            labelled and present.data == data and annotations.items() <= present.metadata.annotations.items()
        )

    def _body(
        self,
        name: str,
        data: dict[str, str],
        annotations: Mapping[str, str],
        present: ConfigMap | None = None,
    ) -> dict[str, Any]:
        metadata = own(self._model, name, annotations=dict(annotations))
        if present is not None:
            metadata["resourceVersion"] = present.metadata.resource_version
            metadata["labels"] = present.metadata.labels | labels(self._model)
            metadata["annotations"] = {**present.metadata.annotations, **annotations}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
