"""What a trainer tells over HTTP: ``/healthz``, ``/readyz``, ``/status`` (JSON), ``/metrics``."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sluice import metrics
from sluice_trainer.trainer import Trainer


def describe(trainer: Trainer, lag: int) -> dict[str, Any]:
    """Return the position and quality of a trainer as JSON values; ``lag`` in events."""
    position = trainer.position
    return {
        "model": trainer.model.key,
        "algorithm": trainer.model.spec.algorithm.type.value,
        "fitted": position.fitted,
        "interactions": position.interactions,
        "duplicates": position.duplicates,
        "rejected": position.rejected,
        "forgets": position.forgets,
        "snapshots": position.snapshots,
        "newest": position.cut_snapshot,
        "offsets": {str(part): offset for part, offset in position.offsets.items()},
        "lag": lag,
        "quality": trainer.window.summary(),
    }


class _Exposition(Collector):
    """Turns :func:`describe` into metrics at each scrape, so that nothing is counted twice."""

    def __init__(self, status: Callable[[], dict[str, Any]]) -> None:
        self._status = status

    def collect(self) -> list[Metric]:
        status = self._status()
        recall = GaugeMetricFamily(metrics.RECALL, "Prequential quality", labels=["metric"])
        for name, value in status["quality"].items():
            recall.add_metric([name], value)
        return [
            CounterMetricFamily(metrics.EVENTS_LEARNED, "Accepted events", status["interactions"]),
            CounterMetricFamily(metrics.EVENTS_REJECTED, "Unreadable events", status["rejected"]),
            CounterMetricFamily(metrics.SNAPSHOTS_CUT, "Snapshots cut", status["snapshots"]),
            GaugeMetricFamily(metrics.LAG, "Events not yet learned", status["lag"]),
            recall,
        ]


def serve(port: int, status: Callable[[], dict[str, Any]]) -> ThreadingHTTPServer:
    """Start answering on ``port`` (0 = any) in a thread; raises OSError if the port is taken."""
    registry = CollectorRegistry()
    registry.register(_Exposition(status))
    routes: dict[str, Callable[[], tuple[str, bytes]]] = {
        "/healthz": lambda: ("text/plain", b"ok"),
        "/readyz": lambda: ("text/plain", b"ok"),
        "/status": lambda: ("application/json", orjson.dumps(status())),
        "/metrics": lambda: (CONTENT_TYPE_LATEST, generate_latest(registry)),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path not in routes:
                self.send_error(404)
                return
            content_type, body = routes[self.path]()
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: scrapes are not worth a line."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True, name="status").start()
    return server
