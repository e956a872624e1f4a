"""The whole platform on one machine: which processes there are, for one model or several side by side.

The supervisor plays the kubelet: it starts what should run, restarts what fell over, and scales the canary
groups to what the controllers ask for. It decides nothing about snapshots.
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import structlog

from sluice import experiment as experiments
from sluice import prepare
from sluice.embedded.home import lock
from sluice.settings import Settings
from sluice_cli import connections, given, ports
from sluice_cli.algorithm import Checking
from sluice_cli.fleet import Files, LocalPlatform, LocalProcess
from sluice_cli.model_services import ModelServices, address
from sluice_cli.ports import check_free
from sluice_cli.processes import Service, ServiceProcess
from sluice_cli.supervisor import Supervisor
from sluice_operator.rollout.actions import GroupName

READY_S: Final = 60.0
WARMUP_EVENTS: Final = 1_000
_LOG = structlog.get_logger()


class Platform:
    """Runs the services of models that share a source below ``home``; the API answers on ``port``."""

    def __init__(
        self,
        home: Path,
        model_files: Path | Sequence[Path],
        port: int,
        connected: Settings = connections.NONE,
        experiment: str = "",
    ) -> None:
        """Take the home and the ports, 0 = any port; what is not ``connected`` is embedded.

        ``experiment`` deals users to models, see :mod:`sluice.experiment`. Raises :class:`InvalidSetting` if
        ``port`` is taken or the models do not go together, and :class:`InvalidModel` if a file is unsound.
        """
        self._given = given.load([model_files] if isinstance(model_files, Path) else model_files)
        experiments.parse(experiment, [each.model.key for each in self._given])
        self.home, self.connected, self._experiment = home.resolve(), connected, experiment
        if port:
            check_free(port)
        self._common = {"SLUICE_HOME": str(self.home), **connections.environment(connected)}
        with ExitStack() as held:
            held.enter_context(lock(self.home))
            self._reserved = held.enter_context(ports.Reserved())
            self.port = port or self._reserved.take()
            self._models = self._model_services()
            self._ports = {"api": self.port, "profiles": self._reserved.take()}
            self._held = held.pop_all()
        for model in self._models:
            self._ports |= model.ports
        self._started, self._files = time.time(), Files(self.home)
        self._wanted: dict[str, Service] = {}
        self._supervisor = Supervisor(self.home / "logs", self._all_wanted, self._tell)

    @property
    def api(self) -> str:
        """The API's address."""
        return address(self.port)

    @property
    def model_file(self) -> Path:
        """The file of the (first) model."""
        return self._given[0].file

    @property
    def trainer_status(self) -> str:
        """Where the trainer of the (first) model tells its position and quality."""
        return f"{address(self._ports[self._models[0].trainer_name])}/status"

    def start(self) -> None:
        """Start the supervisor and everything but the trainers; return when the API is ready.

        Topics and indexes are made first where the platform does not stand on embedded ones.
        """
        self._prepare()
        for model in self._models:
            self._want(*model.always())
        self._want(self._profiles(), self._api())
        self._supervisor.start()
        self.wait_ready()

    def start_trainer(self, warmup_events: int = WARMUP_EVENTS) -> None:
        """Start each model's trainer; it begins with what the log holds once these are ``warmup_events``."""
        self._want(*(model.trainer(warmup_events) for model in self._models))

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Wait until every wanted service is ready; raises :class:`ServiceFailed` naming the one that is not."""
        self._supervisor.wait_ready(list(self._wanted), timeout_s)

    def pids(self) -> dict[str, int | None]:
        """Return the process id of each service."""
        return self._supervisor.pids()

    def stop(self) -> None:
        """Stop everything."""
        self._supervisor.stop()
        self._files.set_platform(None)
        self._held.close()

    def _model_services(self) -> list[ModelServices]:
        names = [f"{name}." for name in given.names(self._given)] if len(self._given) > 1 else [""]
        return [
            ModelServices(each, self.home, name, self._common, self._reserved)
            for each, name in zip(self._given, names, strict=True)
        ]

    def _prepare(self) -> None:
        if connections.connected(self.connected):
            for told in prepare.prepare(self.connected, [each.model for each in self._given]):
                if told.warning:
                    _LOG.warning("topics differ from what is needed", reason=told.sentence)

    def _want(self, *services: Service) -> None:
        self._wanted |= {service.name: service for service in services}

    def _all_wanted(self) -> Mapping[str, Service]:
        canaries = [canary for model in self._models for canary in model.canaries()]
        return self._wanted | {canary.name: canary for canary in canaries}

    def _tell(self, running: Mapping[str, ServiceProcess]) -> None:
        for model in self._models:
            model.tell_pods(running.keys())
        processes = [
            LocalProcess(
                name=name,
                pid=process.pid,
                started=process.started_at,
                restarts=process.restarts,
                url=address(self._ports[name]),
            )
            for name, process in running.items()
        ]
        told = LocalPlatform(
            pid=os.getpid(),
            started=self._started,
            model_file=self._model_files,
            api=self.api,
            processes=processes,
        )
        self._files.set_platform(told)

    @property
    def _model_files(self) -> str:
        return ",".join(str(each.file) for each in self._given)

    def _api(self) -> Service:
        environment = {
            "SLUICE_LISTEN_PORT": str(self.port),
            "SLUICE_FAISS_STABLE_URLS": ";".join(model.urls(GroupName.STABLE) for model in self._models),
            "SLUICE_FAISS_CANARY_URLS": ";".join(model.urls(GroupName.CANARY) for model in self._models),
            "SLUICE_LOCAL": "true",
        }
        return self._recommender("api", environment, "readyz")

    def _profiles(self) -> Service:
        return self._recommender("profiles", {"SLUICE_METRICS_PORT": str(self._ports["profiles"])}, "healthz")

    def _recommender(self, name: str, environment: Mapping[str, str], ready: str) -> Service:
        """Return a service that serves all models."""
        return Service(
            name=name,
            module="sluice_recommender",
            arguments=(name,),
            environment={
                **self._common,
                "SLUICE_MODEL_FILE": self._model_files,
                "SLUICE_EXPERIMENT": self._experiment,
                **environment,
            },
            ready_url=f"{address(self._ports[name])}/{ready}",
        )


def up(
    files: Sequence[Path],
    home: Path,
    port: int,
    wished: Settings = connections.NONE,
    experiment: str = "",
) -> None:
    """Run the platform until interrupted (``sluice up``), connected as wished or as ``home`` was before."""
    platform = Platform(home, files, port, connections.chosen(home, wished), experiment)
    checking = Checking(files)
    try:
        connections.keep(platform.home, platform.connected)
        platform.start()
        checking.wait()
        platform.start_trainer()
        platform.wait_ready()
        standing = f", on {told}" if (told := connections.described(platform.connected)) else ""
        print(f"Sluice is up: {platform.api} (state and logs in {platform.home}{standing}); Ctrl-C stops it.")
        while True:
            time.sleep(60.0)
    except KeyboardInterrupt:
        print("stopping")
    finally:
        checking.stop()
        platform.stop()
