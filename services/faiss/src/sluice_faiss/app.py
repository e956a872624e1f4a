"""The WSGI app of the Faiss service."""

from collections.abc import Callable, Mapping
from typing import Any

import falcon

from sluice.web import probes, problems
from sluice.web.request_ids import RequestIds
from sluice_faiss.holder import Held
from sluice_faiss.resources import SearchResource, SnapshotsResource
from sluice_faiss.wanted import WorkerState, not_ready, not_serving


def create_app(
    units: Callable[[], Mapping[str, Held]],
    state: Callable[[], WorkerState],
    headroom: Callable[[], int],
    source: str,
) -> falcon.App[Any, Any]:
    """Return the app: ``units`` are this worker's, ``state``, ``headroom`` and the followed ``source`` the pod's."""
    middleware: list[Any] = [RequestIds(), probes.Measured()]
    app = falcon.App(middleware=middleware)
    problems.install(app)
    app.add_route("/v1/search", SearchResource(units))
    app.add_route("/v1/snapshots", SnapshotsResource(state, headroom, source))
    probes.add_probes(app, lambda: not_ready(state()))
    app.add_route("/servez", probes.Readyz(lambda: not_serving(state())))
    return app
