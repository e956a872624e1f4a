"""The whole platform on one machine: which processes there are, and a supervisor that keeps them so.

The supervisor plays the kubelet: it starts what should run, restarts what fell over, and scales the canary
group to what the controller asks for. It decides nothing about snapshots.
"""

import os
import random
import socket
import threading
import time
from pathlib import Path
from typing import Final

from sluice import models
from sluice.embedded.home import lock
from sluice.errors import InvalidSetting
from sluice.loops import Loop
from sluice_cli.algorithm import Checking
from sluice_cli.fleet import Files, LocalPlatform, LocalPod, LocalProcess
from sluice_cli.processes import Service, ServiceFailed, ServiceProcess
from sluice_operator.rollout.actions import GroupName

READY_S: Final = 60.0
TICK_S: Final = 0.05
MAX_CANARIES: Final = 2
WARMUP_EVENTS: Final = 1_000
_GIVEN: Final[set[int]] = set()  # ports that a service of this process is about to take


class Platform:
    """Runs the services of one model below ``home``; the API answers on ``port``."""

    def __init__(self, home: Path, model_file: Path, port: int) -> None:
        """Raise :class:`InvalidSetting` if ``port`` is taken, :class:`InvalidModel` if the file is unsound."""
        models.load(model_file)
        self.home, self.model_file = home.resolve(), model_file.resolve()
        self.port = port or _free_port()
        check_free(self.port)
        self._started = time.time()
        self._metrics_ports = {name: _free_port() for name in ("trainer", "profiles", "controller")}
        self._faiss_ports = {f"{GroupName.STABLE}-0": _free_port()} | {
            f"{GroupName.CANARY}-{number}": _free_port() for number in range(MAX_CANARIES)
        }
        self._lock = lock(self.home)
        self._files = Files(self.home)
        self._files.set_canary_replicas(0)
        self._wanted: dict[str, Service] = {}
        self._running: dict[str, ServiceProcess] = {}
        self._leaving: dict[str, ServiceProcess] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="supervisor")

    @property
    def api(self) -> str:
        """The API's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def trainer_status(self) -> str:
        """Where the trainer tells its position and quality."""
        return f"http://127.0.0.1:{self._metrics_ports['trainer']}/status"

    def start(self) -> None:
        """Start the supervisor and everything but the trainer; return when the API is ready."""
        self._want(self._faiss(f"{GroupName.STABLE}-0"))
        self._want(self._with_metrics("profiles", "sluice_recommender", ("profiles",)))
        self._want(self._api())
        self._want(self._with_metrics("controller", "sluice_cli.controller"))
        self._thread.start()
        self.wait_ready()

    def start_trainer(self, warmup_events: int = WARMUP_EVENTS) -> None:
        """Start the trainer; it begins with what the log holds once these are ``warmup_events``."""
        environment = {
            "SLUICE_STATUS_PORT": str(self._metrics_ports["trainer"]),
            "SLUICE_WARMUP_EVENTS": str(warmup_events),
        }
        ready = f"http://127.0.0.1:{self._metrics_ports['trainer']}/healthz"
        self._want(self._service("trainer", "sluice_trainer", environment=environment, ready=ready))

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Wait until every wanted service is ready; raises :class:`ServiceFailed` naming the one that is not."""
        deadline = time.monotonic() + timeout_s
        for name in list(self._wanted):
            while name not in self._running:
                if time.monotonic() > deadline:
                    raise ServiceFailed(
                        f"{name} was not started within {timeout_s:.0f} s; see the errors above"
                    )
                time.sleep(TICK_S)
            self._running[name].wait_ready(deadline)

    def pids(self) -> dict[str, int | None]:
        """Return the process id of each service."""
        return {name: process.pid for name, process in self._running.copy().items()}  # it changes meanwhile

    def stop(self) -> None:
        """Stop everything."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._lock.close()

    def _want(self, service: Service) -> None:
        self._wanted[service.name] = service

    def _supervise(self) -> None:
        # All children are started by this thread: its end is what ends them if everything else fails.
        # A pass that fails (full disk, say) stops nothing that runs.
        passes = Loop("supervisor", TICK_S, self._reconcile)
        try:
            while not self._stopping.wait(TICK_S):
                passes.once()
        finally:
            for process in reversed(self._running.values()):
                process.terminate()
            for process in (*self._leaving.values(), *self._running.values()):
                process.stop()
            self._files.set_platform(None)

    def _reconcile(self) -> None:
        wanted = dict(self._wanted)
        for number in range(min(self._files.canary_replicas(), MAX_CANARIES)):
            canary = self._faiss(f"{GroupName.CANARY}-{number}")
            wanted[canary.name] = canary
        self._let_go(set(self._running) - set(wanted))
        for name, service in wanted.items():
            if name in self._leaving:  # it still has the port and the cache
                continue
            if name not in self._running:
                process = ServiceProcess(service, self.home / "logs" / f"{name}.log")
                process.start()
                self._running[name] = process
            self._running[name].keep_up()
        self._files.set_pods([self._pod(name) for name in self._faiss_ports if name in self._running])
        self._files.set_platform(self._told())

    def _let_go(self, names: set[str]) -> None:
        """Ask services to end and reap those that have; nothing else waits for them meanwhile."""
        for name in names:
            self._leaving[name] = self._running.pop(name)
            self._leaving[name].terminate()
        for name in [name for name, process in self._leaving.items() if process.has_left()]:
            del self._leaving[name]

    def _told(self) -> LocalPlatform:
        processes = [
            LocalProcess(
                name=name,
                pid=process.pid,
                started=process.started_at,
                restarts=process.restarts,
                url=f"http://127.0.0.1:{self._port_of(name)}",
            )
            for name, process in self._running.items()
        ]
        return LocalPlatform(
            pid=os.getpid(),
            started=self._started,
            model_file=str(self.model_file),
            api=self.api,
            processes=processes,
        )

    def _port_of(self, name: str) -> int:
        return ({"api": self.port} | self._faiss_ports | self._metrics_ports)[name]

    def _pod(self, name: str) -> LocalPod:
        group = GroupName(name.rpartition("-")[0])
        return LocalPod(name=name, group=group, url=f"http://127.0.0.1:{self._faiss_ports[name]}")

    def _faiss(self, name: str) -> Service:
        port = self._faiss_ports[name]
        environment = {
            "SLUICE_LISTEN_PORT": str(port),
            "SLUICE_WANTED_FILE": str(self._files.wanted(name)),
            "SLUICE_CACHE": str(self.home / "cache" / name),
        }
        return self._service(
            name, "sluice_faiss", environment=environment, ready=f"http://127.0.0.1:{port}/healthz"
        )

    def _api(self) -> Service:
        urls = {
            group: ",".join(
                f"http://127.0.0.1:{port}"
                for name, port in self._faiss_ports.items()
                if name.startswith(group)
            )
            for group in GroupName
        }
        environment = {
            "SLUICE_LISTEN_PORT": str(self.port),
            "SLUICE_FAISS_STABLE_URLS": urls[GroupName.STABLE],
            "SLUICE_FAISS_CANARY_URLS": urls[GroupName.CANARY],
            "SLUICE_LOCAL": "true",
        }
        return self._service(
            "api", "sluice_recommender", ("api",), environment=environment, ready=f"{self.api}/readyz"
        )

    def _with_metrics(self, name: str, module: str, arguments: tuple[str, ...] = ()) -> Service:
        """Return a service that would listen on no port otherwise; it has started when it answers."""
        port = self._metrics_ports[name]
        environment = {"SLUICE_METRICS_PORT": str(port)}
        ready = f"http://127.0.0.1:{port}/healthz"
        return self._service(name, module, arguments, environment=environment, ready=ready)

    def _service(
        self,
        name: str,
        module: str,
        arguments: tuple[str, ...] = (),
        *,
        environment: dict[str, str] | None = None,
        ready: str | None = None,
    ) -> Service:
        common = {"SLUICE_HOME": str(self.home), "SLUICE_MODEL_FILE": str(self.model_file)}
        return Service(
            name=name,
            module=module,
            arguments=arguments,
            environment=common | (environment or {}),
            ready_url=ready,
        )


def check_free(port: int) -> None:
    """Raise :class:`InvalidSetting` if something listens on ``port`` already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise InvalidSetting(
                f"port {port} cannot be used: {(error.strerror or str(error)).lower()};"
                " stop what uses it or choose another with --port"
            ) from error


def _free_port() -> int:
    """Return a free port below the range that outgoing connections take, so that it is still free later."""
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311 - no secret
        with socket.socket() as probe:
            if port not in _GIVEN and probe.connect_ex(("127.0.0.1", port)) != 0:
                _GIVEN.add(port)
                return port


def up(model_file: Path, home: Path, port: int) -> None:
    """Run the platform until interrupted (``sluice up``)."""
    platform = Platform(home, model_file, port)
    checking = Checking(model_file)
    try:
        platform.start()
        checking.wait()
        platform.start_trainer()
        platform.wait_ready()
        print(f"Sluice is up: {platform.api} (state and logs in {platform.home}); Ctrl-C stops it.")
        while True:
            time.sleep(60.0)
    except KeyboardInterrupt:
        print("stopping")
    finally:
        checking.stop()
        platform.stop()
