"""Pods that mount a model's ConfigMap: each is shown to kubelet when it was written.

Kubelet looks at what a pod mounts every 60 to 90 seconds, and at once when the pod's own object changes. So the pod
gets an annotation; whoever is missed learns of the ConfigMap a little later.
"""

import structlog

from sluice.errors import StorageUnavailable
from sluice_operator.kubernetes.api import Api
from sluice_operator.kubernetes.objects import SPEC, PodObject, core
from sluice_operator.kubernetes.pods import alive, touch

_LOG = structlog.get_logger()


class SpecReaders:
    """The pods of one namespace that mount ConfigMaps."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api, self._namespace = api, namespace

    def hurry(self, config_map: str, version: str) -> None:
        """Let every pod that mounts ``config_map`` have its ``version`` soon; a failure costs only time."""
        try:
            for pod in self._api.listed(core(self._namespace, "pods"), PodObject):
                if alive(pod) and config_map in mounted(pod):
                    touch(self._api, self._namespace, pod, SPEC, version)
        except StorageUnavailable as error:
            _LOG.debug("pods are not shown the config map", config_map=config_map, reason=str(error))


def mounted(pod: PodObject) -> set[str]:
    """Return the names of the ConfigMaps that a pod mounts."""
    return {volume.config_map.name for volume in pod.spec.volumes if volume.config_map is not None}
