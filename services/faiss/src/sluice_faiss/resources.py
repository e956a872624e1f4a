"""HTTP resources of the Faiss service."""

from collections.abc import Callable, Mapping

import falcon
import msgspec
import prometheus_client

from sluice import metrics
from sluice.web.bodies import read_typed, send
from sluice.web.problems import problem
from sluice_faiss.holder import Held
from sluice_faiss.search import Search, search
from sluice_faiss.wanted import WorkerState

_SEARCH = msgspec.json.Decoder(Search)
_SEARCHES = prometheus_client.Counter(metrics.SEARCHES.removesuffix("_total"), "Searches done.", ["kind"])
_SECONDS = prometheus_client.Histogram(
    metrics.SEARCH_SECONDS, "Time of a search.", buckets=metrics.LATENCY_BUCKETS_S
)


class SearchResource:
    """``POST /v1/search``: see :class:`~sluice_faiss.search.Search`.

    200 with the items; 400 no JSON, a field out of bounds or a filter; 404 ``similar_to`` unknown; 409 this
    pod lacks the snapshot.
    """

    def __init__(self, units: Callable[[], Mapping[str, Held]]) -> None:
        self._units = units

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Search."""
        request = read_typed(req, _SEARCH)
        if request.filter is not None:
            raise problem(400, "not-available", "filter is not available yet; leave it out")
        held = self._units().get(request.snapshot)
        if held is None:
            raise problem(
                409, "snapshot-not-held", f"snapshot {request.snapshot} is not held here; ask another pod"
            )
        with _SECONDS.time():
            found = search(held.unit, request)
        if found is None:
            raise problem(404, "unknown-item", f"similar_to names no item of {request.snapshot}; use another")
        _SEARCHES.labels("query" if request.similar_to is None else "similar").inc()
        send(resp, found)


class SnapshotsResource:
    """``GET /v1/snapshots``: what the whole pod wants, serves and refuses."""

    def __init__(self, state: Callable[[], WorkerState], headroom: Callable[[], int]) -> None:
        self._state, self._headroom = state, headroom

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """200."""
        document = msgspec.structs.asdict(self._state())
        document["headroom_bytes"] = self._headroom()
        document["overlay"] = {"position": None}
        send(resp, document)
