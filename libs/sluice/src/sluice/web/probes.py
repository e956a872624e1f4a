"""``/healthz``, ``/readyz`` and ``/metrics`` of a service, and the measurement of its requests."""

import os
import time
from collections.abc import Callable
from typing import Any, Final

import falcon
import prometheus_client
from prometheus_client import multiprocess

from sluice import metrics
from sluice.web.bodies import send
from sluice.web.problems import problem

MULTIPROCESS_DIR: Final = "PROMETHEUS_MULTIPROC_DIR"
Reason = Callable[[], str | None]


class Healthz:
    """The process answers."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """200."""
        send(resp, {"status": "ok"})


class Readyz:
    """Whether requests may come: 200, or 503 with the reason why not."""

    def __init__(self, reason: Reason) -> None:
        self._reason = reason

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """200 or 503."""
        reason = self._reason()
        if reason is not None:
            raise problem(503, "not-ready", reason)
        send(resp, {"status": "ready"})


class Metrics:
    """Prometheus exposition of all workers of this service."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """200, text."""
        registry = prometheus_client.REGISTRY
        if MULTIPROCESS_DIR in os.environ:
            registry = prometheus_client.CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        resp.data = prometheus_client.generate_latest(registry)
        resp.content_type = prometheus_client.CONTENT_TYPE_LATEST


_REQUESTS = prometheus_client.Counter(
    metrics.REQUESTS.removesuffix("_total"), "Requests answered.", ["route", "status"]
)
_SECONDS = prometheus_client.Histogram(
    metrics.REQUEST_SECONDS, "Time to answer a request.", ["route"], buckets=metrics.LATENCY_BUCKETS_S
)


class Measured:
    """Falcon middleware that counts and times every request by its route (never by its path)."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Note the start."""
        req.context.started = time.perf_counter()

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: Any, req_succeeded: bool
    ) -> None:
        """Count the answer."""
        route = req.uri_template or "unrouted"
        _REQUESTS.labels(route, resp.status[:3] if isinstance(resp.status, str) else resp.status).inc()
        _SECONDS.labels(route).observe(time.perf_counter() - req.context.started)


def add_probes(app: falcon.App[Any, Any], ready: Reason) -> None:
    """Route the three probes."""
    app.add_route("/healthz", Healthz())
    app.add_route("/readyz", Readyz(ready))
    app.add_route("/metrics", Metrics())
