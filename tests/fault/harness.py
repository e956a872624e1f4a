"""Processes of fault tests: started, killed, started again; and waiting with a deadline."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import dying
import jumped

T = TypeVar("T")
DEADLINE_S = 20.0


def until(holds: Callable[[], T], what: str, timeout_s: float = DEADLINE_S, poll_s: float = 0.02) -> T:
    """Return the first true value of ``holds``; fail, naming ``what``, when ``timeout_s`` have passed."""
    deadline = time.monotonic() + timeout_s
    while not (value := holds()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(poll_s)
    return value


def free_port() -> int:
    """Return a free port below the range that outgoing connections take, so that it is still free later."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


class Child:
    """One process with a session and a log file of its own."""

    def __init__(self, line: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                line,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def kill(self) -> None:
        """End it and what it forked, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self, timeout_s: float = DEADLINE_S) -> int:
        """Ask it to end; return its exit code. Fails if it goes on."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def ended(self, timeout_s: float = DEADLINE_S) -> int:
        """Wait for its end; return its exit code, negative for a signal."""
        return self.process.wait(timeout_s)

    def says(self) -> str:
        """Return its log."""
        return self.log.read_text(errors="replace")


class Children:
    """Starts ``python -m module``; ``home`` and settings go in as ``SLUICE_*`` variables, nothing else does."""

    def __init__(self, logs: Path) -> None:
        self._logs, self._started = logs, list[Child]()

    def start(
        self,
        module: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        at: int | None = None,
        clock_by: float = 0.0,
        count_file: Path | None = None,
        **flags: bool,
    ) -> Child:
        """Start a module; with ``at`` it dies at that durable write (see ``dying``: 0 only counts).

        With ``clock_by`` its wall clock is wrong by so many seconds (see ``jumped``).
        """
        line = [sys.executable, "-m", module, *arguments]
        if clock_by:
            line = [sys.executable, jumped.__file__, "--by", str(clock_by), module, *arguments]
        if at is not None:
            line = dying.command(at, module, *arguments, count_file=count_file, **flags)
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{len(self._started):03d}-{module.replace('/', '_')}.log"
        child = Child(line, _environment(environment or {}), log)
        self._started.append(child)
        return child

    def kill_all(self) -> None:
        """Kill every one of them."""
        for child in self._started:
            child.kill()


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return kept | one_thread | {"PYTHONUNBUFFERED": "1"} | dict(added)
