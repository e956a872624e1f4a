"""``/healthz``, ``/readyz``, ``/metrics`` and ``/status`` of a process that serves nothing else."""

import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import orjson
import prometheus_client
import structlog
from prometheus_client.registry import Collector

from sluice.errors import InvalidSetting, StorageUnavailable

_LOG = structlog.get_logger()
IDLE_S: Final = 10.0
_TEXT: Final = "text/plain; charset=utf-8"
Status = Callable[[], dict[str, Any]]
Reason = Callable[[], str | None]
Answer = tuple[HTTPStatus, str, bytes]


class StatusServer(ThreadingHTTPServer):
    """Answers in threads of its own until :meth:`stop`; ``server_port`` is the port it got."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind without looking this machine's own name up: that asks a name server, which may be away."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def start(self) -> None:
        """Begin to answer."""
        threading.Thread(target=self.serve_forever, daemon=True, name="status").start()

    def stop(self) -> None:
        """Answer no more and give the port back."""
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that is gone, and one line of anything else."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            _LOG.error("request raised an unexpected error", exc_info=error)


def serve(
    host: str,
    port: int,
    status: Status = dict,
    *,
    ready: Reason = lambda: None,
    stuck: Reason = lambda: None,
    registry: Collector = prometheus_client.REGISTRY,
) -> StatusServer:
    """Start answering on ``port`` (0 = any free one); raises :class:`InvalidSetting` if it cannot be had.

    ``/readyz`` answers 503 with the reason while ``ready`` gives one, and ``/healthz`` while ``stuck`` does: then
    the process is to be started again.
    """
    routes: dict[str, Callable[[], Answer]] = {
        "/healthz": lambda: _unless(stuck()),
        "/readyz": lambda: _unless(ready()),
        "/status": lambda: (HTTPStatus.OK, "application/json", orjson.dumps(status())),
        "/metrics": lambda: _exposition(registry),
    }
    try:
        server = StatusServer((host, port), _handler(routes))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InvalidSetting(
            f"metrics and health cannot be served on {host}:{port}: {reason}; set another port"
        ) from error
    server.start()
    return server


def _answered(path: str, route: Callable[[], Answer]) -> Answer:
    """Return a route's answer; whatever it raises, the client gets one."""
    try:
        return route()
    except StorageUnavailable as error:
        return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, str(error).encode()
    except Exception as error:
        _LOG.error("request raised an unexpected error", path=path, exc_info=error)
        return HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, b"unexpected error, see the log"


def _unless(reason: str | None) -> Answer:
    if reason is None:
        return HTTPStatus.OK, _TEXT, b"ok"
    return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, reason.encode()


def _exposition(registry: Collector) -> Answer:
    text = prometheus_client.generate_latest(registry)
    return HTTPStatus.OK, prometheus_client.CONTENT_TYPE_LATEST, text


def _handler(routes: dict[str, Callable[[], Answer]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = IDLE_S

        def do_GET(self) -> None:
            if self.path not in routes:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            code, content_type, body = _answered(self.path, routes[self.path])
            self.send_response(code)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: scrapes are not worth a line."""

    return Handler
