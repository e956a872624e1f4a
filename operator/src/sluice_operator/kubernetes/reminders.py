"""Pods that do not see what their annotation says: they are touched again.

Kubelet brings a changed annotation to a pod within a second, but it can miss one that comes while it still writes the
one before. Then it looks again after 60 to 90 seconds, unless the pod's object changes meanwhile.
"""

import json
import time
from collections.abc import Iterable
from typing import Final

import structlog

from sluice_operator.kubernetes.api import Api
from sluice_operator.kubernetes.objects import REMINDED, SNAPSHOTS, PodObject, whole
from sluice_operator.kubernetes.pods import in_service, touch
from sluice_operator.rollout.observation import Pod

_LOG = structlog.get_logger()
PATIENCE_S: Final = 5.0


class Reminders:
    """Watches the pods of one model, pass by pass."""

    def __init__(self, api: Api, namespace: str, patience_s: float = PATIENCE_S) -> None:
        self._api, self._namespace, self._patience_s = api, namespace, patience_s
        self._unseen: dict[tuple[str, str], float] = {}

    def look(self, seen: Iterable[tuple[PodObject, Pod]]) -> None:
        """Touch each pod in service that has not seen for a while what it was told; failures are tried again.

        Raises :class:`~sluice_operator.kubernetes.api.Unreachable`.
        """
        now, before = time.monotonic(), self._unseen
        self._unseen = {}
        for pod, said in seen:
            told = pod.metadata.annotations.get(SNAPSHOTS, "")
            if not in_service(pod) or _named(told) in (None, said.wanted):
                continue
            since = before.get((pod.metadata.uid, told), now)
            if now - since >= self._patience_s and self._touch(pod):
                since = now
            self._unseen[pod.metadata.uid, told] = since

    def _touch(self, pod: PodObject) -> bool:
        count = whole(pod.metadata.annotations, REMINDED) + 1
        if touched := touch(self._api, self._namespace, pod, REMINDED, str(count)):
            _LOG.info("pod reminded of what to hold", pod=pod.metadata.name, count=count)
        return touched


def _named(told: str) -> frozenset[str] | None:
    """Return the snapshots in an annotation; None if there is none, or somebody wrote what is no list."""
    try:
        named = json.loads(told)
    except ValueError:
        return None
    return frozenset(map(str, named)) if isinstance(named, list) else None
