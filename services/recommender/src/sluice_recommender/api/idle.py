"""The API while no model is there: it describes itself, is healthy and ready, and answers 503 to all else."""

from collections.abc import Callable
from typing import Any, Final

import falcon

from sluice import statsd
from sluice.metrics import Process
from sluice.web import probes, problems
from sluice.web.request_ids import RequestIds
from sluice_recommender.api.openapi import OpenApi
from sluice_recommender.api.operations import OPERATIONS
from sluice_recommender.settings import ApiSettings

_DESCRIPTION: Final = "/openapi.json"
_DETAIL: Final = "no model is served here yet; apply the RecommenderModel with kubectl, then try again"


class NoModel:
    """Any method of a path that needs a model: 503."""

    def on_get(self, req: falcon.Request, resp: falcon.Response, **_ids: str) -> None:
        """503."""
        raise problems.problem(503, "no-model", _DETAIL, {"Retry-After": problems.RETRY_S})

    on_head = on_post = on_put = on_patch = on_delete = on_get


def create_app() -> falcon.App[Any, Any]:
    """Return the app; every path it has is one of the whole API."""
    middleware: list[Any] = [RequestIds(), probes.Measured()]
    app = falcon.App(middleware=middleware)
    problems.install(app)
    missing, served = NoModel(), {*probes.PROBES, _DESCRIPTION}
    for path in {operation.path for operation in OPERATIONS} - served:
        app.add_route(path, missing)
    app.add_route(_DESCRIPTION, OpenApi())
    probes.add_probes(app, lambda: None)
    return app


class IdleWorker:
    """See :class:`~sluice.web.server.Worker`."""

    def __init__(self, settings: ApiSettings) -> None:
        self._statsd = statsd.Pusher(settings.statsd, Process.API)
        self._app = create_app()

    @property
    def wsgi(self) -> Callable[..., Any]:
        """The app."""
        return self._app

    def start(self) -> None:
        """Serve at once: there is nothing to wait for."""
        self._statsd.start()

    def stop(self) -> None:
        """Nothing is left to write."""
        self._statsd.stop()
