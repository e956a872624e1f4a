"""Asks Faiss pods over kept-alive connections, each in turn, the next one where one cannot answer."""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import urllib3

from sluice.errors import SluiceError

CONNECT_TIMEOUT_S: Final = 0.5
READ_TIMEOUT_S: Final = 2.0
REST_S: Final = 1.0
"""How long a pod that could not be reached comes last."""


class SearchFailed(SluiceError):
    """No pod could answer."""


class UnknownItem(SluiceError):
    """The snapshot lacks the item that others should be similar to."""


class _Scored(msgspec.Struct):
    item_id: str
    score: float | None


class _Reply(msgspec.Struct):
    items: list[_Scored]


_REPLY: Final = msgspec.json.Decoder(_Reply)
_HEADERS: Final = {"Content-Type": "application/json"}


class _Pod:
    def __init__(self, url: str, connections: int) -> None:
        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S)
        self.pool = urllib3.connection_from_url(
            url, maxsize=connections, timeout=timeout, retries=False, block=False
        )
        self.url = url
        self.rests_until = 0.0

    def search(self, body: bytes) -> urllib3.BaseHTTPResponse:
        try:
            return self._post(body)
        except urllib3.exceptions.ProtocolError:  # a kept connection that the pod had closed
            return self._post(body)

    def _post(self, body: bytes) -> urllib3.BaseHTTPResponse:
        return self.pool.urlopen("POST", "/v1/search", body=body, headers=_HEADERS, redirect=False)


class Pods:
    """The pods of one Deployment. ``connections`` is how many each keeps open."""

    def __init__(
        self, urls: Sequence[str], connections: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pods = [_Pod(url, connections) for url in urls]
        self._turn = itertools.count()
        self._clock = clock

    def search(self, body: bytes) -> list[tuple[str, float]]:
        """Return the items found, best first.

        Raises :class:`UnknownItem`, or :class:`SearchFailed` when every pod failed or lacks the snapshot.
        """
        reason = "no pod is configured"
        for pod in self._in_turn():
            try:
                response = pod.search(body)
            except urllib3.exceptions.HTTPError as error:
                pod.rests_until = self._clock() + REST_S
                reason = f"{pod.url} cannot be reached ({type(error).__name__})"
                continue
            if response.status == 200:
                return _items(response.data)
            if response.status == 404:
                raise UnknownItem(response.data.decode(errors="replace")[:200])
            reason = f"{pod.url} answered {response.status}"
        raise SearchFailed(reason)

    def close(self) -> None:
        """Close all connections."""
        for pod in self._pods:
            pod.pool.close()

    def _in_turn(self) -> list[_Pod]:
        start = next(self._turn) % max(1, len(self._pods))
        now = self._clock()
        return sorted(self._pods[start:] + self._pods[:start], key=lambda pod: pod.rests_until > now)


def _items(data: bytes) -> list[tuple[str, float]]:
    try:
        return [(each.item_id, each.score) for each in _REPLY.decode(data).items if each.score is not None]
    except msgspec.MsgspecError as error:
        raise SearchFailed(f"a pod's answer cannot be read: {error}") from error
