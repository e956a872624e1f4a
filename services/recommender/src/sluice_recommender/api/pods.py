"""Asks Faiss pods, the least busy one first, the next one where one cannot answer, all within one deadline.

A pod that fails rests: nobody asks it, then one request tries it again. The rest doubles with every failure of
such a try in a row, so a pod that hangs costs one request 0.75 s now and then, and all others nothing. Requests
that were under way when it failed say nothing new and lengthen no rest.
"""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from sluice.errors import SluiceError
from sluice_recommender.api.wire import Reply, Wire

TOTAL_S: Final = 1.5
"""The longest a search takes, whatever the pods do."""
ANSWER_S: Final = 0.75
"""The longest one pod is waited for."""
ATTEMPTS: Final = 3
FIRST_REST_S: Final = 0.1
LAST_REST_S: Final = 8.0
CANARY_LAST_REST_S: Final = 1.0
"""Canary pods are tried at least so often: a dead candidate collects failures, and one that works again is asked."""

NO_USERS: Final = "urn:sluice:no-users"
"""The problem of a pod whose unit has no part of users."""
UNKNOWN: Final = frozenset({"urn:sluice:unknown-item", "urn:sluice:unknown-user", NO_USERS})
"""The problems by which a pod says that its snapshot lacks what others should be like."""


class SearchFailed(SluiceError):
    """No pod could answer."""


class Resting(SearchFailed):
    """No pod was asked: none is known just now, or all rest after failures."""


class NotHeld(SearchFailed):
    """Every pod that was asked answered 409: it lacks the snapshot.

    That is a lack, no failure: a canary pod that wants nothing yet, or no more, is ready and says so at once. How
    fit the snapshot is cannot be seen from it.
    """


class UnknownItem(SluiceError):
    """The snapshot lacks the item or user that others should be similar to; says which of :data:`UNKNOWN`."""


class _Scored(msgspec.Struct):
    item_id: str
    score: float | None


class _Reply(msgspec.Struct):
    items: list[_Scored]


class _Problem(msgspec.Struct):
    type: str = ""


_REPLY: Final = msgspec.json.Decoder(_Reply)
_PROBLEM: Final = msgspec.json.Decoder(_Problem)


class _Pod:
    """A pod, how many requests it is answering, and how long it rests, ``last_rest_s`` at most."""

    def __init__(self, url: str, wire: Wire, last_rest_s: float) -> None:
        self.url, self.wire, self._last_rest_s = url, wire, last_rest_s
        self.busy = self.failures = 0
        self.rests_until = 0.0
        self.gone = False

    def rest(self, began: float, now: float) -> None:
        """Ask it no more for a while, as a request asked at ``began`` has failed."""
        if began < self.rests_until:
            return  # it was under way when another one failed
        self.rests_until = now + min(FIRST_REST_S * 2.0**self.failures, self._last_rest_s)
        self.failures = min(self.failures + 1, 10)


class Pods:
    """The pods of one Deployment. ``connections`` is how many each keeps open, ``last_rest_s`` the longest rest.

    They may be replaced at any time, by one thread. Requests read the list as it is and never wait for a change of it.
    """

    def __init__(
        self,
        urls: Sequence[str],
        connections: int,
        clock: Callable[[], float] = time.monotonic,
        last_rest_s: float = LAST_REST_S,
    ) -> None:
        self._connections, self._last_rest_s = connections, last_rest_s
        self._turn = itertools.count()
        self._clock = clock
        self._lock = threading.Lock()
        self._pods: list[_Pod] = []
        self.replace(urls)

    def replace(self, urls: Sequence[str]) -> None:
        """Ask these pods from now on; one that stays keeps its connections and its rest, one that goes may finish."""
        known = {pod.url: pod for pod in self._pods}
        pods = [known.get(url) or self._new(url) for url in dict.fromkeys(urls)]
        going = [known[url] for url in known.keys() - urls]
        with self._lock:
            self._pods = pods
            for pod in going:
                pod.gone = True
            idle = [pod for pod in going if not pod.busy]
        for pod in idle:
            pod.wire.close()

    def _new(self, url: str) -> _Pod:
        return _Pod(url, Wire(url, self._connections, self._clock), self._last_rest_s)

    def search(self, body: bytes) -> list[tuple[str, float]]:
        """Return the items found, best first, within 1.5 s and three attempts.

        Raises :class:`UnknownItem`, :class:`Resting` when nobody could be asked, :class:`NotHeld` when all asked
        lack the snapshot, or another :class:`SearchFailed` when some of them failed.
        """
        deadline = self._clock() + TOTAL_S
        reason, lacking = "", 0
        start, asked = next(self._turn), set[str]()
        while len(asked) < ATTEMPTS and (pod := self._next(start, asked)) is not None:
            asked.add(pod.url)
            try:
                reply = self._ask(pod, body, deadline)
            except OSError as error:
                reason = f"{pod.url} cannot be reached ({type(error).__name__}: {error})"
                continue
            if reply.status == 200:
                return _items(reply.body)
            if reply.status == 404 and (kind := _problem(reply.body)) in UNKNOWN:
                raise UnknownItem(kind)
            reason = f"{pod.url} answered {reply.status}"
            lacking += reply.status == 409
        if not asked:
            raise Resting("no pod can be asked now")
        raise NotHeld(reason) if lacking == len(asked) else SearchFailed(reason)

    def close(self) -> None:
        """Close all connections."""
        for pod in self._pods:
            pod.wire.close()

    def _next(self, start: int, asked: set[str]) -> _Pod | None:
        """Choose the least busy pod not asked yet, in turn among equals; a rested one by one request only."""
        now = self._clock()
        with self._lock:
            pods = self._pods
            first = start % max(1, len(pods))
            able = [
                pod
                for pod in pods[first:] + pods[:first]
                if pod.url not in asked and now >= pod.rests_until and not (pod.failures and pod.busy)
            ]
            chosen = min(able, key=lambda pod: (pod.failures > 0, pod.busy), default=None)
            if chosen is not None:
                chosen.busy += 1
            return chosen

    def _ask(self, pod: _Pod, body: bytes, deadline: float) -> Reply:
        failed, began = True, self._clock()
        try:
            reply = pod.wire.search(body, min(deadline, began + ANSWER_S))
            failed = reply.status == 503  # too busy to answer
            return reply
        finally:
            with self._lock:
                pod.busy -= 1
                if failed:
                    pod.rest(began, self._clock())
                else:
                    pod.failures = 0
                left = pod.gone and not pod.busy
            if left:
                pod.wire.close()


def _problem(data: bytes) -> str:
    try:
        return _PROBLEM.decode(data).type
    except msgspec.MsgspecError:  # a proxy's page, say
        return ""


def _items(data: bytes) -> list[tuple[str, float]]:
    try:
        return [(each.item_id, each.score) for each in _REPLY.decode(data).items if each.score is not None]
    except msgspec.MsgspecError as error:
        raise SearchFailed(f"a pod's answer cannot be read: {error}") from error
