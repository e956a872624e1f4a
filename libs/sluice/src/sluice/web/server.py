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
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Protocol

import structlog
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
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
    """Replaces workers without a gap: those that are to go serve until as many new ones have started."""

    def __init__(self, app: _Application) -> None:
        self._outgoing: set[int] = set()
        super().__init__(app)

    def reload(self) -> None:
        """Start new workers beside those that are there; :meth:`manage_workers` ends these later."""
        self._outgoing = set(self.WORKERS)
        for _ in range(self.num_workers):
            self.spawn_worker()

    def manage_workers(self) -> None:
        """Keep up the number of workers; this is called about once a second."""
        if self.app.changed():
            self.reload()
        self._outgoing &= self.WORKERS.keys()
        if not self._outgoing:
            super().manage_workers()
            return
        incoming = self.WORKERS.keys() - self._outgoing
        for _ in range(self.num_workers - len(incoming)):
            self.spawn_worker()
        if incoming and incoming <= self.app.starts.told():
            for (
                pid
            ) in self._outgoing.copy():  # again and again: a worker that is just being forked hears nothing
                self.kill_worker(pid, signal.SIGTERM)

    def stop(self, graceful: bool = True) -> None:
        """Let nobody else in, then stop the workers: they still accept whom the kernel has let in before."""
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
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


class JsonLogger(Logger):  # type: ignore[misc]
    """Hands gunicorn's own lines to :mod:`sluice.logs`."""

    def setup(self, cfg: Any) -> None:
        """Set gunicorn up, then let its lines go where all others go."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
