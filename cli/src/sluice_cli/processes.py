"""One service as a child process: start, watch, restart, stop."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog
import urllib3

from sluice.errors import SluiceError

STOP_S: Final = 10.0
HANDED_ON: Final = ("SLUICE_LOG_LEVEL", "SLUICE_STATSD")
"""Settings that a person may give all services of a local platform."""

BACKOFF_S: Final = (0.2, 1.0, 5.0, 15.0)
REPLACED: Final = 3
"""Exit code of a service that ended because another one does its work now."""
REPLACED_S: Final = 60.0
"""So long the other one is left alone; each new try would take its work from it again."""
_LOG = structlog.get_logger()
_HTTP: Final = urllib3.PoolManager(timeout=urllib3.Timeout(1.0), retries=False)


class ServiceFailed(SluiceError):
    """A service did not start or did not become ready; the message quotes its last log line."""


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """What to run: ``python -m module *arguments`` with ``environment`` added; ``ready_url`` answers 200."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    ready_url: str | None = None


class _Line(msgspec.Struct):
    event: str
    reason: str = ""
    exception: str = ""


class ServiceProcess:
    """A running service, its log file, when it was started last (Unix seconds) and how often again."""

    def __init__(self, service: Service, log: Path) -> None:
        self.service, self.log = service, log
        self._process: subprocess.Popen[bytes] | None = None
        self._falls = 0
        self._started = self._retry_at = 0.0
        self._kill_at = math.inf
        self.started_at, self.restarts = 0.0, 0

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start it; the end of the calling thread ends the child too (on Linux)."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "sluice_cli.child", str(os.getpid())),
                    *(self.service.module, *self.service.arguments),
                ],
                env=_environment(self.service.environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        self._started, self.started_at = time.monotonic(), time.time()

    def keep_up(self) -> None:
        """Start it again if it fell over, waiting longer each time; 60 s of running clear the slate."""
        now = time.monotonic()
        if self._process is None or self._process.poll() is None:
            self._falls = 0 if now - self._started > 60 else self._falls
            return
        if not self._retry_at:
            self._retry_at = now + self._fallen(self._process.returncode)
        if now >= self._retry_at:
            self._retry_at = 0.0
            self.restarts += 1
            self.start()

    def _fallen(self, code: int) -> float:
        """Tell that it ended; return after how many seconds it is to start again."""
        told = {"name": self.service.name, "code": code, "last": self.last_line()}
        if code == REPLACED:
            _LOG.error("service was replaced by another one, which is left alone", **told, retry_s=REPLACED_S)
            return REPLACED_S
        wait = BACKOFF_S[min(self._falls, len(BACKOFF_S) - 1)]
        self._falls += 1
        _LOG.error("service ended", **told, retry_s=wait)
        return wait

    def wait_ready(self, deadline: float) -> None:
        """Wait until it answers ready; raises :class:`ServiceFailed` if it ends or ``deadline`` passes."""
        while self.service.ready_url is not None and not answers(self.service.ready_url):
            if self._process is not None and self._process.poll() is not None:
                raise ServiceFailed(f"{self.service.name} ended: {self.last_line()}")
            if time.monotonic() > deadline:
                raise ServiceFailed(f"{self.service.name} is not ready: {self.last_line()}; see {self.log}")
            time.sleep(0.05)

    def terminate(self) -> None:
        """Ask it to end, within ``STOP_S``."""
        self._kill_at = time.monotonic() + STOP_S
        if self.pid is not None:
            self._signal(signal.SIGTERM)

    def has_left(self) -> bool:
        """Return whether it has ended; when its time to do so is over, it is killed with its whole group."""
        if self._process is None or self._process.poll() is not None:
            return True
        if time.monotonic() > self._kill_at:
            self._signal(signal.SIGKILL)
        return False

    def stop(self, timeout_s: float = STOP_S) -> None:
        """End it: SIGTERM, then SIGKILL to its whole group after ``timeout_s``."""
        if self._process is None:
            return
        self.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        try:
            if number is signal.SIGKILL:
                os.killpg(self._process.pid, number)
            else:
                self._process.send_signal(number)
        except ProcessLookupError:
            _LOG.debug("service had ended already", name=self.service.name)

    def last_line(self) -> str:
        """Return what the last line of its log says."""
        try:
            lines = self.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return said(lines[-1]) if lines else "it said nothing"


def said(line: str) -> str:
    """Return a log line for people: its event and the reason or exception; other text as it is.

    >>> said('{"event": "snapshot refused", "reason": "a checksum is wrong"}')
    'snapshot refused: a checksum is wrong'
    """
    try:
        fields = msgspec.json.decode(line, type=_Line)
    except msgspec.MsgspecError:
        return line[-300:]
    why = fields.reason or fields.exception.strip().rpartition("\n")[2]
    return (f"{fields.event}: {why}" if why else fields.event)[:300]


def answers(url: str) -> bool:
    """Return whether ``url`` answers 200 now."""
    try:
        return _HTTP.request("GET", url).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SLUICE_") or name in HANDED_ON
    }
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return kept | one_thread | {"PYTHONUNBUFFERED": "1"} | dict(added)
