"""A server as a child process that ends with the process that started it, even if that is killed."""

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import Final

from sluice_cli.backends import tied

STOP_S: Final = 20.0
_TAIL_BYTES: Final = 4_000


class Process:
    """Starts a program again and again, its output in one log file."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Return whether it runs (or is paused)."""
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._child.pid if self._child is not None and self.running else None

    def start(self, command: Sequence[str], folder: Path) -> None:
        """Start ``command`` (its program given by path) in ``folder``."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._child = _forker(os.getpid()).call(lambda: _popen(command, folder, self.log))

    def stop(self, timeout_s: float = STOP_S) -> None:
        """End it: SIGTERM, and SIGKILL when it has not left in ``timeout_s``."""
        if self._child is None or not self.running:
            return
        self.send(signal.SIGTERM)
        self.send(signal.SIGCONT)  # a paused one would never see it
        try:
            self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        if self._child is not None:
            self.send(signal.SIGKILL)
            self._child.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self._child is not None:
            self._child.send_signal(number)

    def last_words(self) -> str:
        """Return the end of its log."""
        try:
            said = self.log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()
        except OSError:
            said = ""
        return said or "it said nothing"


def _popen(command: Sequence[str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as stream:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", tied.__file__, str(os.getpid()), *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )


class _Forker(threading.Thread):
    """Starts children for all threads, because a child ends with the *thread* that started it.

    This one lives as long as the process does; a thread that only starts a backend may leave.
    """

    def __init__(self) -> None:
        super().__init__(name="backends-forker", daemon=True)
        self._calls: queue.SimpleQueue[
            tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]
        ] = queue.SimpleQueue()

    def call(self, work: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        done: Future[subprocess.Popen[bytes]] = Future()
        self._calls.put((work, done))
        return done.result()

    def run(self) -> None:
        while True:
            work, done = self._calls.get()
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)


@cache
def _forker(_pid: int) -> _Forker:
    """Return the forker of this process; a forked child has none of its parent's threads."""
    forker = _Forker()
    forker.start()
    return forker
