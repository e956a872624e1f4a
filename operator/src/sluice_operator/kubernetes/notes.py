"""Decisions as Events of the RecommenderModel, each once."""

import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from sluice.errors import Conflict
from sluice.model import API_VERSION, KIND
from sluice_operator.kubernetes.api import Api
from sluice_operator.kubernetes.objects import OPERATOR, Metadata, core, own
from sluice_operator.rollout.state import Note

KEPT_S: Final = 3600.0
"""So long an API server keeps Events by default: what is older was told and is forgotten."""
BYTES: Final = 1_024
"""The most that the API server takes of a message."""
_ACTION: Final = "Rollout"


class KubernetesNotes:
    """:class:`~sluice_operator.controller.Notes`: the number is part of the Event's name."""

    def __init__(
        self, api: Api, namespace: str, model: Callable[[], Metadata], clock: Callable[[], float] = time.time
    ) -> None:
        self._api, self._namespace, self._model, self._clock = api, namespace, model, clock

    def record(self, note: Note) -> bool:
        """See :class:`~sluice_operator.controller.Notes`."""
        if self._clock() - note.at > KEPT_S:
            return False
        try:
            self._api.create(core(self._namespace, "events"), self._event(note))
        except Conflict:
            return False
        return True

    def _event(self, note: Note) -> dict[str, Any]:
        model, at = self._model(), datetime.fromtimestamp(note.at, UTC).isoformat(timespec="seconds")
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": own(model.name, f"{model.name}.{model.uid[:8]}.{note.number}"),
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "namespace": self._namespace,
                "name": model.name,
                "uid": model.uid,
            },
            "type": note.type.value,
            "reason": note.reason,
            "message": note.message.encode()[:BYTES].decode(errors="ignore"),
            "action": _ACTION,
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
            "source": {"component": OPERATOR},
            "reportingComponent": OPERATOR,
            "reportingInstance": socket.gethostname()[:128],
        }
