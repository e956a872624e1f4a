"""The API server as five verbs over paths. Answers are decoded into the few fields that are used.

Not the client's typed models: they know each field of each kind, of which the operator needs a dozen, and
decoding them takes a hundred times as long. Every error is one of Sluice's own from here on.
"""

from typing import Any, Final, TypeVar

import msgspec
import urllib3
from kubernetes import config
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import OpenApiException

from sluice.errors import Conflict, InvalidSetting, StorageUnavailable
from sluice_operator.kubernetes.objects import Listed

T = TypeVar("T")
CONNECT_S: Final = 3.0
READ_S: Final = 10.0
_MERGE: Final = "application/merge-patch+json"
_AGAIN: Final = urllib3.Retry(
    total=2, connect=1, read=1, redirect=0, status=0, other=0, respect_retry_after_header=False
)
"""Once more for a connection that the server closed while it was idle, and only for what may be repeated."""


class Unreachable(StorageUnavailable):
    """The API server itself does not answer, so that asking for something else is of no use now."""


class NotFound(StorageUnavailable):
    """What was to be changed is not there."""


def configuration() -> Configuration:
    """Return how to reach the API server: as the pod's service account, else as ``KUBECONFIG`` says.

    Raises :class:`InvalidSetting` if neither is there.
    """
    found = Configuration()
    try:
        config.load_incluster_config(client_configuration=found)  # type: ignore[no-untyped-call]
    except config.ConfigException:
        try:
            config.load_kube_config(client_configuration=found)  # type: ignore[no-untyped-call]
        except (config.ConfigException, OSError) as error:
            raise InvalidSetting(
                f"no API server can be found: {error}; run in a pod with a service account, or set KUBECONFIG"
            ) from error
    found.retries = _AGAIN
    return found


class Api:
    """Calls one API server; safe to use from several threads.

    Every method raises :class:`StorageUnavailable` if the server fails or refuses, and :class:`Unreachable`, which
    is one, if it does not answer.
    """

    def __init__(self, reached: Configuration) -> None:
        self._client = ApiClient(reached)

    def get(self, path: str, kind: type[T]) -> T | None:
        """Return the object at ``path``; None if there is none."""
        try:
            return msgspec.json.decode(self._call("GET", path), type=kind)
        except NotFound:
            return None

    def listed(self, path: str, kind: type[T], selector: str = "") -> list[T]:
        """Return the objects of the collection at ``path`` that ``selector`` chooses by their labels."""
        query = [("labelSelector", selector)] if selector else []
        data = self._call("GET", path, query=query)
        return msgspec.json.decode(data, type=Listed[kind]).items  # type: ignore[valid-type]

    def create(self, path: str, body: dict[str, Any]) -> None:
        """Add an object to the collection at ``path``; raises :class:`Conflict` if it exists."""
        self._call("POST", path, body)

    def replace(self, path: str, body: dict[str, Any], kind: type[T]) -> T:
        """Write an object at the resourceVersion in ``body`` and return it as it is now.

        Raises :class:`Conflict` if somebody wrote it since, :class:`NotFound` if it is gone.
        """
        return msgspec.json.decode(self._call("PUT", path, body), type=kind)

    def patch(self, path: str, body: dict[str, Any]) -> None:
        """Merge ``body`` into an object; with a resourceVersion in it, raises as :meth:`replace` does."""
        self._call("PATCH", path, body, content=_MERGE)

    def delete(self, path: str, uid: str) -> None:
        """Delete the object at ``path`` if it is the one with ``uid``; one that is gone is fine."""
        try:
            self._call("DELETE", path, {"preconditions": {"uid": uid}})
        except NotFound:
            return

    def _call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        query: list[tuple[str, str]] | None = None,
        content: str = "application/json",
    ) -> bytes:
        headers = {"Accept": "application/json", "Content-Type": content}
        try:
            request = self._client.param_serialize(
                method,
                path,
                query_params=query,
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            answer = self._client.call_api(*request, _request_timeout=(CONNECT_S, READ_S))
            data = bytes(answer.read())  # type: ignore[no-untyped-call]
        except (urllib3.exceptions.HTTPError, OpenApiException, OSError) as error:
            raise Unreachable(f"the API server cannot be reached: {_short(str(error))}") from error
        if 200 <= answer.status <= 299:
            return data
        raise _refusal(method, path, answer.status, data)


class _Status(msgspec.Struct):
    message: str = ""


def _refusal(method: str, path: str, status: int, data: bytes) -> StorageUnavailable | Conflict:
    try:
        message = msgspec.json.decode(data, type=_Status).message
    except (msgspec.DecodeError, UnicodeDecodeError):
        message = data[:200].decode(errors="replace")
    message = _short(message)
    if status == 404:
        return NotFound(message)
    if status == 409:
        return Conflict(f"{message}; decide anew")
    if status in (401, 403):
        return StorageUnavailable(f"the API server refuses {method} {path}: {message}; grant it by a Role")
    return StorageUnavailable(f"the API server answers {status} to {method} {path}: {message}")


def _short(message: str) -> str:
    return " ".join(message.split())[:400]
