"""ConfigMaps that the operator keeps: written only where they say something else.

They have no owner reference: a deleted RecommenderModel leaves what serves, and what it serves from, as it is.
"""

from typing import Any

import structlog

from sluice_operator.kubernetes.api import Api
from sluice_operator.kubernetes.objects import ConfigMap, core, labels, own

_LOG = structlog.get_logger()


class ConfigMaps:
    """The ConfigMaps about one model, by name."""

    def __init__(self, api: Api, namespace: str, model: str) -> None:
        self._api, self._namespace, self._model = api, namespace, model

    def read(self, name: str) -> ConfigMap | None:
        """Return one as it is now; None if there is none."""
        return self._api.get(core(self._namespace, "configmaps", name), ConfigMap)

    def write(self, name: str, data: dict[str, str], present: ConfigMap | None) -> None:
        """Let one hold ``data``, where ``present`` is what :meth:`read` found.

        Raises :class:`~sluice.errors.Conflict` if somebody wrote or made it meanwhile.
        """
        if present is None:
            self._api.create(core(self._namespace, "configmaps"), self._body(name, data))
        elif present.data != data or not labels(self._model).items() <= present.metadata.labels.items():
            body = self._body(name, data, present)
            self._api.replace(core(self._namespace, "configmaps", name), body, ConfigMap)
        else:
            return
        _LOG.info("config map written", config_map=name)

    def _body(self, name: str, data: dict[str, str], present: ConfigMap | None = None) -> dict[str, Any]:
        metadata = own(self._model, name)
        if present is not None:
            metadata["resourceVersion"] = present.metadata.resource_version
            metadata["labels"] = present.metadata.labels | labels(self._model)
            metadata["annotations"] = present.metadata.annotations
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
