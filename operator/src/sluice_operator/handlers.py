"""Kopf handlers: they only say which RecommenderModel is there, in which version; the passes do the rest.

Only raw events are handled: so kopf puts no finalizer, annotation or status of its own on anything, retries nothing,
and nothing hangs when the operator is away.
"""

import signal
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Final

import kopf

from sluice.model import API_VERSION
from sluice_operator.kubernetes.objects import RECOMMENDER_MODELS

_BACKOFFS: Final = (0.2, 0.5, 1.0, 2.0)
_LONGEST_S: Final = 5.0


class _Forever:
    """Waiting times between attempts to reach the API server, without an end: it may be away for long."""

    def __iter__(self) -> Iterator[float]:
        yield from _BACKOFFS
        while True:
            yield _LONGEST_S


def settings() -> kopf.OperatorSettings:
    """Return kopf's settings: it posts nothing, scans for nothing, and waits for an API server that is away."""
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    made.scanning.disabled = True
    made.peering.standalone = True
    made.networking.error_backoffs = _Forever()
    made.networking.connect_timeout = 5.0
    made.watching.server_timeout = 240
    made.process.ultimate_exiting_timeout = 20.0
    return made


Look = Callable[[str, Hashable], None]


def registry(look: Look, stopping: threading.Event) -> kopf.OperatorRegistry:
    """Return the handlers; ``look`` is called with name and version of each model that is there, changed or deleted.

    A deleted one is looked at too: whoever reads it finds it gone. Repeating any of it is harmless.
    """
    made = kopf.OperatorRegistry()
    kopf.on.login(registry=made)(kopf.login_via_client)

    @kopf.on.startup(registry=made)
    async def begin(**_: Any) -> None:
        """Pass on a signal to end that came before kopf heeded them."""
        if stopping.is_set():
            signal.raise_signal(signal.SIGTERM)

    @kopf.on.event(*API_VERSION.split("/"), RECOMMENDER_MODELS, registry=made)  # type: ignore[call-arg]
    async def seen(name: str, type: str | None, meta: Mapping[str, Any], **_: Any) -> None:
        """Look at a model."""
        look(name, version(type, meta))

    return made


def version(event: str | None, metadata: Mapping[str, Any]) -> Hashable:
    """Return what is another after each change that people make; not after one of the status.

    The operator itself writes the status: if that woke it, it would never come to rest.
    """
    annotations = frozenset((metadata.get("annotations") or {}).items())
    made = (metadata.get("uid"), metadata.get("generation"), metadata.get("deletionTimestamp"))
    return event == "DELETED", made, annotations
