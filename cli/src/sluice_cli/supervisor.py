"""Keeps services as wanted: starts them, restarts what fell over, lets go of what nobody wants any more."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from sluice.loops import Loop
from sluice_cli.processes import Service, ServiceFailed, ServiceProcess

TICK_S: Final = 0.05

Wanted = Callable[[], Mapping[str, Service]]
"""Returns what should run now, by name."""
Tell = Callable[[Mapping[str, ServiceProcess]], None]
"""Is told after each pass what runs."""


class Supervisor:
    """Acts in a thread of its own; the logs of its services lie in ``logs``."""

    def __init__(self, logs: Path, wanted: Wanted, tell: Tell) -> None:
        self._logs, self._wanted, self._tell = logs, wanted, tell
        self._running: dict[str, ServiceProcess] = {}
        self._leaving: dict[str, ServiceProcess] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End all services, and then the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def pids(self) -> dict[str, int | None]:
        """Return the process id of each service."""
        return {name: process.pid for name, process in self._running.copy().items()}  # it changes meanwhile

    def wait_ready(self, names: Iterable[str], timeout_s: float) -> None:
        """Wait until these services are ready; raises :class:`ServiceFailed` naming the one that is not."""
        deadline = time.monotonic() + timeout_s
        for name in names:
            while name not in self._running:
                if time.monotonic() > deadline:
                    raise ServiceFailed(
                        f"{name} was not started within {timeout_s:.0f} s; see the errors above"
                    )
                time.sleep(TICK_S)
            self._running[name].wait_ready(deadline)

    def _run(self) -> None:
        # All children are started by this thread: its end is what ends them if everything else fails.
        # A pass that fails (full disk, say) stops nothing that runs.
        passes = Loop("supervisor", TICK_S, self.once)
        try:
            while not self._stopping.wait(TICK_S):
                passes.once()
        finally:
            for process in reversed(self._running.values()):
                process.terminate()
            for process in (*self._leaving.values(), *self._running.values()):
                process.stop()

    def once(self) -> None:
        """Do one pass."""
        wanted = self._wanted()
        self._let_go(set(self._running) - set(wanted))
        for name, service in wanted.items():
            if name in self._leaving:  # it still has the port and the cache
                continue
            if name not in self._running:
                process = ServiceProcess(service, self._logs / f"{name}.log")
                process.start()
                self._running[name] = process
            self._running[name].keep_up()
        self._tell(self._running)

    def _let_go(self, names: set[str]) -> None:
        """Ask services to end and reap those that have; nothing else waits for them meanwhile."""
        for name in names:
            self._leaving[name] = self._running.pop(name)
            self._leaving[name].terminate()
        for name in [name for name, process in self._leaving.items() if process.has_left()]:
            del self._leaving[name]
