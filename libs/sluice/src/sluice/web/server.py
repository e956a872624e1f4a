"""Runs a Falcon app on gunicorn: bind first, fork, and only then build the app in each worker."""

import contextlib
import ctypes
import os
import resource
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Protocol

import structlog
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.glogging import Logger
from msgspec import Meta

from sluice.errors import InvalidSetting
from sluice.settings import Port, Settings
from sluice.web.gather import MAX_LINE_BYTES
from sluice.web.starts import Starts

KEEPALIVE_S: Final = 75
GRACEFUL_S: Final = 20
TIMEOUT_S: Final = 120
OWN_DESCRIPTORS: Final = 512
FIRST_RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 60.0
"""How long new workers that could not start are not tried again, while old ones serve."""
_SO_ATTACH_FILTER: Final = 26
_BPF_RETURN: Final = 0x06
_log = structlog.get_logger()


class ServerSettings(Settings, frozen=True, kw_only=True):
    """Where a service listens and with how much.

    Not ``host`` and ``port``: Kubernetes sets ``SLUICE_PORT`` itself beside a Service named ``sluice``.
    """

    listen_host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    listen_port: Annotated[Port, Meta(description="Port to listen on; 0 takes a free one.")] = 8080
    workers: Annotated[int, Meta(ge=1, le=64, description="Worker processes.")] = 1
    threads: Annotated[int, Meta(ge=1, le=256, description="Threads of a worker.")] = 2
    connections: Annotated[
        int,
        Meta(
            ge=16, le=65_536, description="Connections of a worker; beyond, the oldest that waits is closed."
        ),
    ] = 1_000


class Worker(Protocol):
    """What one worker process runs: built after the fork, started before the first request."""

    @property
    def wsgi(self) -> Callable[..., Any]:
        """The app."""

    def start(self) -> None:
        """Start background threads."""

    def stop(self) -> None:
        """Stop them and write out what is left; the last request has ended."""


def bind(settings: ServerSettings) -> socket.socket:
    """Return the listening socket; raises :class:`InvalidSetting` naming the setting if it cannot be had."""
    family = socket.AF_INET6 if ":" in settings.listen_host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.listen_host, settings.listen_port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise InvalidSetting(
            f"SLUICE_LISTEN_PORT is {settings.listen_port} on {settings.listen_host}:"
            f" {(error.strerror or str(error)).lower()}; stop what uses it or set another port"
        ) from error
    listener.set_inheritable(True)
    return listener


def serve(
    settings: ServerSettings,
    listener: socket.socket,
    build: Callable[[], Worker],
    changed: Callable[[], bool] = lambda: False,
) -> None:
    """Serve until SIGTERM. ``build`` is called in each worker, so nothing it imports is loaded before.

    ``changed`` is asked about once a second, in the process that forks the workers: True has them replaced by newly
    built ones, without a request lost.
    """
    host, port = listener.getsockname()[:2]
    _log.info("listening", host=host, port=port, workers=settings.workers, threads=settings.threads)
    _allow_descriptors(settings.connections)
    metrics_folder = _metrics_folder() if settings.workers > 1 else None
    master = os.getpid()
    try:
        _Application(settings, listener.fileno(), build, changed).run()
    finally:
        if metrics_folder is not None and os.getpid() == master:  # workers leave through here as well
            shutil.rmtree(metrics_folder, ignore_errors=True)


def _allow_descriptors(connections: int) -> None:
    """Raise the soft limit so far that every connection can be open, and the service's own files beside."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + OWN_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < needed:
        enough = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


def _metrics_folder() -> Path:
    """Give prometheus a fresh folder; it must be known before prometheus_client is first imported."""
    folder = Path(tempfile.mkdtemp(prefix="sluice-metrics-"))
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    return folder


class _Application(BaseApplication):  # type: ignore[misc]
    def __init__(
        self,
        settings: ServerSettings,
        descriptor: int,
        build: Callable[[], Worker],
        changed: Callable[[], bool],
    ) -> None:
        self._settings, self._descriptor, self._build = settings, descriptor, build
        self.changed = changed
        self.starts = Starts()
        self._worker: Worker | None = None
        super().__init__()

    def load_config(self) -> None:
        for name, value in {
            "bind": f"fd://{self._descriptor}",
            "workers": self._settings.workers,
            "threads": self._settings.threads,
            "worker_class": "sluice.web.worker.GatheringWorker" if hasattr(select, "epoll") else "gthread",
            "worker_connections": self._settings.connections,
            "limit_request_line": MAX_LINE_BYTES,
            "forwarder_headers": "",  # else a proxy's SCRIPT_NAME moves the paths
            "secure_scheme_headers": {},
            "control_socket_disable": True,
            "keepalive": KEEPALIVE_S,
            "graceful_timeout": GRACEFUL_S,
            "timeout": TIMEOUT_S,
            "loglevel": "warning",
            "logger_class": JsonLogger,
            "post_worker_init": self._started,
            "worker_exit": self._stopped,
            "child_exit": _child_exited,
        }.items():
            self.cfg.set(name, value)

    def run(self) -> None:
        _Arbiter(self).run()

    def load(self) -> Callable[..., Any]:
        self._worker = self._build()
        return self._worker.wsgi

    def _started(self, worker: Any) -> None:
        assert self._worker is not None
        self._worker.start()
        self.starts.tell()

    def _stopped(self, server: Any, worker: Any) -> None:
        if self._worker is not None:
            self._worker.stop()


class _Arbiter(Arbiter):  # type: ignore[misc]
    """Replaces workers without a gap: those that are to go serve until as many new ones have started.

    One replacement is made at a time. New workers that cannot start leave the old ones serving, and are tried
    again: after a pause that doubles, or as soon as there is another change.
    """

    def __init__(self, app: _Application) -> None:
        self._due = self._stopping = False
        self._outgoing: set[int] = set()
        self._ending: set[int] = set()
        self._failures, self._retry_at = 0, 0.0
        super().__init__(app)

    def reload(self) -> None:
        """Have all workers replaced; :meth:`manage_workers` does it."""
        self._due, self._retry_at = True, 0.0

    def manage_workers(self) -> None:
        """Keep up the number of workers; this is called about once a second."""
        if self.app.changed():
            self.reload()
        self._outgoing &= self.WORKERS.keys()
        self._ending &= self.WORKERS.keys()
        if not self._serving() or time.monotonic() >= self._retry_at:
            self._keep_up()
        for pid in self._ending.copy():  # again and again: a worker that is just being forked hears nothing
            self.kill_worker(pid, signal.SIGTERM)

    def _keep_up(self) -> None:
        if self._due and not self._outgoing and not self._ending:
            self._due, self._outgoing = False, set(self.WORKERS)
        if not self._outgoing and not self._ending:
            super().manage_workers()
            if self.WORKERS.keys() <= self.app.starts.told():
                self._failures = 0
            return
        for _ in range(self.num_workers - len(self._incoming())):
            self.spawn_worker()
        incoming = self._incoming()
        if self._outgoing and len(incoming) >= self.num_workers and incoming <= self.app.starts.told():
            self._ending |= self._outgoing
            self._outgoing, self._failures = set(), 0

    def _incoming(self) -> set[int]:
        return set(self.WORKERS) - self._outgoing - self._ending

    def _serving(self) -> bool:
        """Return whether a worker that is to stay for now has started."""
        return not self.app.starts.told().isdisjoint(self.WORKERS.keys() - self._ending)

    def reap_workers(self) -> None:
        """Forget workers that have ended; one that could not start ends the server only if nobody else serves."""
        while True:
            before = dict(self.WORKERS)
            try:
                super().reap_workers()
                return
            except HaltServer:
                if not self._serving() and not self._stopping:
                    raise
            ended = before.keys() - self.WORKERS.keys()
            for pid in ended:  # of one of them gunicorn did not do this
                before[pid].tmp.close()
                self.cfg.child_exit(self, before[pid])
            if not ended <= self._ending:
                self._put_off()

    def _put_off(self) -> None:
        """Let the old workers serve on, end those that came with one that could not start, and try again later."""
        if not self._failures:
            self.log.error("new workers cannot start, the old ones serve on")
        pause_s = min(FIRST_RETRY_S * 2.0**self._failures, LAST_RETRY_S)
        self._failures, self._retry_at = min(self._failures + 1, 10), time.monotonic() + pause_s
        if self._outgoing:
            self._ending |= self._incoming()
            self._due, self._outgoing = True, set()

    def stop(self, graceful: bool = True) -> None:
        """Let nobody else in, then stop the workers: they still accept whom the kernel has let in before."""
        self._stopping = True
        for listener in self.LISTENERS:
            _drop_newcomers(listener.sock)
        super().stop(graceful)


def _drop_newcomers(listener: socket.socket) -> None:
    """Have the kernel drop what asks for a new connection, as if it were lost on the way.

    The client asks again a second later, and then finds the port closed or the next process. Without this, one
    that is let in between the last accept and the close of the listener would be reset.
    """
    if sys.platform != "linux":
        return
    instruction = ctypes.create_string_buffer(
        struct.pack("HBBI", _BPF_RETURN, 0, 0, 0)
    )  # let 0 bytes through
    program = struct.pack("HL", 1, ctypes.addressof(instruction))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _child_exited(_server: Any, worker: Any) -> None:
    if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        from sluice.web import metric_files

        metric_files.take_over(Path(folder), worker.pid)


class JsonLogger(Logger):  # type: ignore[misc]
    """Hands gunicorn's own lines to :mod:`sluice.logs`."""

    def setup(self, cfg: Any) -> None:
        """Set gunicorn up, then let its lines go where all others go."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
