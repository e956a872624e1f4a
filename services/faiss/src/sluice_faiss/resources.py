"""HTTP resources of the Faiss service."""

from collections.abc import Callable, Mapping

import falcon
import msgspec

from sluice import instruments, metrics
from sluice.web.bodies import read_typed, send
from sluice.web.problems import problem
from sluice_faiss.holder import Held
from sluice_faiss.search import Search, search
from sluice_faiss.wanted import WorkerState

_SEARCH = msgspec.json.Decoder(Search)
_SEARCHES = instruments.counter(metrics.SEARCHES)
_SECONDS = instruments.histogram(metrics.SEARCH_SECONDS)


class SearchResource:
    """``POST /v1/search``: see :class:`~sluice_faiss.search.Search`.

    200 with the items; 400 no JSON, a field out of bounds or an unusable filter; 404 ``similar_to`` or
    ``similar_to_user`` unknown; 409 this pod lacks the snapshot.
    """

    def __init__(self, units: Callable[[], Mapping[str, Held]]) -> None:
        self._units = units

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Search."""
        request = read_typed(req, _SEARCH)
        held = self._units().get(request.snapshot)
        if held is None:
            raise problem(
                409, "snapshot-not-held", f"snapshot {request.snapshot} is not held here; ask another pod"
            )
        with _SECONDS.time():
            found = search(held.bound, request)
        if found is None:
            raise _unknown(request, held.unit.users is None)
        _SEARCHES.labels(request.kind).inc()
        send(resp, found)


def _unknown(request: Search, without_users: bool) -> falcon.HTTPError:
    if request.similar_to_user is not None and without_users:
        return problem(404, "no-users", f"{request.snapshot} has no part of users; ask another model")
    if request.similar_to_user is not None:
        return problem(
            404, "unknown-user", f"similar_to_user names no user of {request.snapshot}; use another"
        )
    return problem(404, "unknown-item", f"similar_to names no item of {request.snapshot}; use another")


class SnapshotsResource:
    """``GET /v1/snapshots``: what the whole pod wants, serves and refuses, and whose items it follows."""

    def __init__(self, state: Callable[[], WorkerState], headroom: Callable[[], int], source: str) -> None:
        self._state, self._headroom, self._source = state, headroom, source

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """200."""
        document = msgspec.structs.asdict(self._state())
        document["headroom_bytes"] = self._headroom()
        document["source"] = self._source
        send(resp, document)
