"""``/healthz``, ``/readyz`` and ``/metrics`` of a service, and the measurement of its requests."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import falcon
import prometheus_client
import structlog
from prometheus_client import multiprocess

from sluice import instruments, metrics
from sluice.web import metric_files
from sluice.web.bodies import send
from sluice.web.problems import problem

MULTIPROCESS_DIR: Final = "PROMETHEUS_MULTIPROC_DIR"
Reason = Callable[[], str | None]


class Healthz:
    """The process answers."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """200."""
        send(resp, {"status": "ok"})

    on_head = on_get


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

    on_head = on_get


class Metrics:
    """Prometheus exposition of all workers of this service."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """200, text."""
        if folder := os.environ.get(MULTIPROCESS_DIR):
            registry = prometheus_client.CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            with metric_files.locked(Path(folder), shared=True):
                resp.data = prometheus_client.generate_latest(registry)
        else:
            resp.data = prometheus_client.generate_latest(prometheus_client.REGISTRY)
        resp.content_type = prometheus_client.CONTENT_TYPE_LATEST

    on_head = on_get


PROBES: Final = ("/healthz", "/readyz", "/servez", "/metrics")
SLOW_S: Final = 1.0
LINES_PER_S: Final = 10
_REQUESTS = instruments.counter(metrics.REQUESTS)
_SECONDS = instruments.histogram(metrics.REQUEST_SECONDS)
_log = structlog.get_logger()


class Sparing:
    """Lets at most :data:`LINES_PER_S` lines a second through: an outage would make one per request."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._second, self._told, self._withheld = clock, 0, 0, 0

    def __call__(self) -> dict[str, int] | None:
        """Return what to add to the line, ``withheld`` ones before it if there were any; None = withhold it."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._told = second, 0
        if self._told >= LINES_PER_S:
            self._withheld += 1
            return None
        self._told += 1
        withheld, self._withheld = self._withheld, 0
        return {"withheld": withheld} if withheld else {}


class Measured:
    """Falcon middleware that counts and times every request by its route (never by its path, which holds ids).

    Requests that fail (5xx) or take longer than :data:`SLOW_S` are logged, the others at level debug.
    """

    def __init__(self) -> None:
        self._sparing = Sparing()
        # Asked once: to make a line and drop it costs every request.
        self._tells_all = structlog.get_logger().is_enabled_for(logging.DEBUG)

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Note the start."""
        req.context.started = time.perf_counter()

    def process_response(
        self, req: falcon.Request, resp: falcon.Response, resource: Any, req_succeeded: bool
    ) -> None:
        """Count the answer."""
        route, took_s = req.uri_template or "unrouted", time.perf_counter() - req.context.started
        _REQUESTS.labels(route, resp.status_code).inc()
        _SECONDS.labels(route).observe(took_s)
        ordinary = resp.status_code < 500 and took_s < SLOW_S
        if route not in PROBES and (self._tells_all or not ordinary):
            self._tell(took_s, resp.status_code, method=req.method, route=route)

    def _tell(self, took_s: float, status: int, **line: str) -> None:
        told = {**line, "status": status, "took_ms": round(1e3 * took_s, 1)}
        if status < 500 and took_s < SLOW_S:
            _log.debug("request answered", **told)
        elif (more := self._sparing()) is not None:
            _log.warning("request failed" if status >= 500 else "request slow", **told, **more)


def add_probes(app: falcon.App[Any, Any], ready: Reason) -> None:
    """Route the three probes."""
    app.add_route("/healthz", Healthz())
    app.add_route("/readyz", Readyz(ready))
    app.add_route("/metrics", Metrics())
