"""What Kafka, MongoDB, Redis and Toxiproxy have in common: one process, ports that stay, data in a folder."""

import json
import signal
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Final

from sluice_cli.backends import ports
from sluice_cli.backends.process import Process
from sluice_cli.backends.tools import BackendUnavailable

READY_S: Final = 90.0
_TRIES: Final = 4
_POLL_S: Final = 0.05


class Server(ABC):
    """One server over a folder of its own; ports and data outlive its process, and also this object.

    ``host`` is the address of this machine that it listens on and tells its clients.
    """

    name: ClassVar[str]
    port_names: tuple[str, ...] = ("main",)

    def __init__(self, folder: Path, *, host: str = ports.HOST) -> None:
        self.folder, self.host = folder.absolute(), host
        self._ports: dict[str, int] = {}
        self._process = Process(self.folder / f"{self.name}.log")

    @abstractmethod
    def fetch(self) -> Path:
        """Return the folder (or program) it is run from, fetched and built if that was not done yet."""

    @abstractmethod
    def command(self) -> list[str]:
        """Write its settings and return what to run, the program by its path."""

    @abstractmethod
    def answers(self) -> bool:
        """Return whether it serves now."""

    @property
    def running(self) -> bool:
        """Return whether its process is there."""
        return self._process.running

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid

    @property
    def address(self) -> str:
        """``host:port`` of its (first) listener; raises LookupError before the first start."""
        return self.address_of(self.port_names[0])

    def address_of(self, name: str) -> str:
        """Return ``host:port`` of one of its listeners."""
        return f"{self.host}:{self._ports[name]}"

    def start(self) -> None:
        """Start it, unless it runs, and wait until it serves; from the first time on at the same ports.

        Raises :class:`BackendUnavailable` if it cannot run here, with the end of its log.
        """
        if self.running:
            return
        ports.check_is_ours(self.host)
        self.fetch()
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._ports:
            self._run()
        else:
            self._first_start()

    def stop(self) -> None:
        """End it as an operator would: SIGTERM; SIGKILL if it does not leave."""
        self._process.stop()

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._process.kill()

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        self._process.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send(signal.SIGCONT)

    def _first_start(self) -> None:
        """Someone else may take a port between choosing and listening; then others are tried."""
        remembered = self.folder / f"{self.name}-ports.json"
        for left in reversed(range(_TRIES)):
            self._ports = _chosen(remembered, self.port_names, self.host)
            try:
                self._run()
            except BackendUnavailable:
                taken = [port for port in self._ports.values() if not ports.is_free(port, self.host)]
                self._ports = {}
                if not (taken and left):
                    raise
            else:
                remembered.write_text(json.dumps(self._ports))
                return

    def _run(self) -> None:
        self._process.start(self.command(), self.folder)
        deadline = time.monotonic() + READY_S
        ready = False
        while not ready:
            ready = self.running and self.answers()
            if not self.running:  # if someone answered, it was someone else
                raise BackendUnavailable(f"{self.name} ended: {self._process.last_words()}")
            if not ready and time.monotonic() > deadline:
                self.kill()
                raise BackendUnavailable(f"{self.name} did not get ready: {self._process.last_words()}")
            time.sleep(0 if ready else _POLL_S)


def _chosen(remembered: Path, names: tuple[str, ...], host: str = ports.HOST) -> dict[str, int]:
    """Return the ports of last time if they are free, else new ones."""
    if remembered.exists():
        before: dict[str, int] = json.loads(remembered.read_bytes())
        if before.keys() == set(names) and all(ports.is_free(port, host) for port in before.values()):
            return before
    return dict(zip(names, ports.free(len(names), host), strict=True))
