"""What one model has of its own on this machine: trainer, controller, Faiss processes and their fleet folder."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from sluice_cli import ports
from sluice_cli.fleet import Files, LocalPod
from sluice_cli.given import Given
from sluice_cli.processes import Service
from sluice_operator.rollout.actions import GroupName

MAX_CANARIES: Final = 2
_STABLE: Final = f"{GroupName.STABLE}-0"


def address(port: int) -> str:
    """Return the address of a service of this machine."""
    return f"http://{ports.HOST}:{port}"


class ModelServices:
    """The services of one model. ``prefix`` begins their names; empty = it is the only model."""

    def __init__(
        self, given: Given, home: Path, prefix: str, common: Mapping[str, str], reserved: ports.Reserved
    ) -> None:
        """Take ports from ``reserved``; ``common`` is every service's environment."""
        self.key, self._home, self._prefix = given.model.key, home, prefix
        self._fleet = self.key if prefix else ""
        self._environment = {**common, "SLUICE_MODEL_FILE": str(given.file)}
        self._faiss = {
            f"{prefix}{_STABLE}": GroupName.STABLE,
            **{f"{prefix}{GroupName.CANARY}-{number}": GroupName.CANARY for number in range(MAX_CANARIES)},
        }
        self.trainer_name, self._controller_name = f"{prefix}trainer", f"{prefix}controller"
        names = (*self._faiss, self.trainer_name, self._controller_name)
        self.ports = {name: reserved.take() for name in names}
        self.files = Files(home, self._fleet)
        self.files.claim(self.key)
        self.files.set_canary_replicas(0)

    def always(self) -> list[Service]:
        """Return what runs from the start: the stable Faiss process and the controller."""
        return [self._pod(f"{self._prefix}{_STABLE}"), self._controller()]

    def canaries(self) -> list[Service]:
        """Return the canary processes that the controller asks for now."""
        count = min(self.files.canary_replicas(), MAX_CANARIES)
        return [self._pod(name) for name in self._of(GroupName.CANARY)[:count]]

    def trainer(self, warmup_events: int) -> Service:
        """Return the trainer."""
        return self._telling(
            self.trainer_name,
            "sluice_trainer",
            {
                "SLUICE_STATUS_PORT": str(self.ports[self.trainer_name]),
                "SLUICE_WARMUP_EVENTS": str(warmup_events),
            },
        )

    def tell_pods(self, running: Collection[str]) -> None:
        """Tell the controller which Faiss processes run."""
        self.files.set_pods(
            [
                LocalPod(name=name, group=group, url=address(self.ports[name]))
                for name, group in self._faiss.items()
                if name in running
            ]
        )

    def urls(self, group: GroupName) -> str:
        """Return the addresses of a group as the API's settings name them, with the model they are of."""
        return f"{self.key}={','.join(address(self.ports[name]) for name in self._of(group))}"

    def _of(self, group: GroupName) -> list[str]:
        return [name for name, its in self._faiss.items() if its is group]

    def _pod(self, name: str) -> Service:
        return self._telling(
            name,
            "sluice_faiss",
            {
                "SLUICE_LISTEN_PORT": str(self.ports[name]),
                "SLUICE_WANTED_FILE": str(self.files.wanted(name)),
                "SLUICE_CACHE": str(self._home / "cache" / name),
            },
        )

    def _controller(self) -> Service:
        name = self._controller_name
        more = {"SLUICE_METRICS_PORT": str(self.ports[name]), "SLUICE_FLEET": self._fleet}
        return self._telling(name, "sluice_cli.controller", more)

    def _telling(self, name: str, module: str, environment: Mapping[str, str]) -> Service:
        """Return a service that has started when its port answers."""
        return Service(
            name=name,
            module=module,
            environment={**self._environment, **environment},
            ready_url=f"{address(self.ports[name])}/healthz",
        )
