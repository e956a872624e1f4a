"""The supervisor: what leaves keeps nobody waiting, and what was replaced is left alone."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from sluice_cli import processes
from sluice_cli.processes import REPLACED, REPLACED_S, Service, ServiceProcess
from sluice_cli.supervisor import Supervisor

STUBBORN = """
import signal, time
from pathlib import Path
signal.signal(signal.SIGTERM, lambda *_: Path("asked").touch())
Path("ready").touch()
time.sleep(60.0)
"""


def until(holds, what: str) -> None:
    """Wait until ``holds()``; fails naming ``what`` after ten seconds."""
    deadline = time.monotonic() + 10.0
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    (tmp_path / "replaced.py").write_text(f"print('another does its work'); raise SystemExit({REPLACED})")
    (tmp_path / "broken.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def stubborn(folder: Path):
    service = ServiceProcess(Service(name="canary-0", module="stubborn"), folder / "log")
    service.start()
    until((folder / "ready").exists, "it runs")
    yield service
    service.stop(0.0)


def test_a_service_that_does_not_end_is_killed_when_its_time_is_over(
    stubborn: ServiceProcess, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not stubborn.has_left()
    stubborn.terminate()
    until((folder / "asked").exists, "it was asked")
    assert not stubborn.has_left()
    assert stubborn.pid is not None, "its time is not over"
    monkeypatch.setattr(processes, "STOP_S", 0.0)
    stubborn.terminate()
    until(stubborn.has_left, "it was killed")


def test_a_pass_waits_for_no_service_that_leaves_and_starts_none_in_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = Service(name="canary-0", module="stubborn")
    wanted, told = {canary.name: canary}, list[list[str]]()
    supervisor = Supervisor(
        folder / "logs", lambda: dict(wanted), lambda running: told.append(sorted(running))
    )
    supervisor.once()
    until((folder / "ready").exists, "it runs")
    first = supervisor.pids()["canary-0"]
    wanted.clear()
    before = time.monotonic()
    supervisor.once()
    assert time.monotonic() - before < 5.0
    until((folder / "asked").exists, "it was asked to leave")
    assert supervisor.pids() == {}
    wanted[canary.name] = canary
    supervisor.once()
    assert supervisor.pids() == {}, "the one that leaves still has the port"
    assert first is not None
    processes.os.killpg(first, processes.signal.SIGKILL)

    def back() -> bool:
        supervisor.once()
        return supervisor.pids().get("canary-0") not in (None, first)

    until(back, "another takes its place")
    assert told[:3] == [["canary-0"], [], []]
    monkeypatch.setattr(processes, "STOP_S", 0.0)
    wanted.clear()

    def gone() -> bool:
        supervisor.once()
        return not supervisor._leaving

    until(gone, "it is killed")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds to add to the supervisor's clock."""
    ahead, monotonic = [0.0], time.monotonic
    monkeypatch.setattr(processes.time, "monotonic", lambda: monotonic() + ahead[0])
    return ahead


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was logged as an error."""
    lines: list[str] = []
    monkeypatch.setattr(processes, "_LOG", SimpleNamespace(error=lambda event, **_: lines.append(event)))
    return lines


@pytest.mark.parametrize(
    ("module", "waits_s"), [("replaced", REPLACED_S), ("broken", processes.BACKOFF_S[0])]
)
def test_a_replaced_service_is_left_alone_for_a_minute_a_fallen_one_is_not(
    folder: Path, clock: list[float], said: list[str], module: str, waits_s: float
) -> None:
    service = ServiceProcess(Service(name="trainer", module=module), folder / "log")
    service.start()
    until(lambda: service.pid is None, "it ended")
    service.keep_up()
    assert [each.partition(" by ")[0] for each in said] == [
        "service was replaced" if module == "replaced" else "service ended"
    ]
    clock[0] += waits_s - 0.15
    service.keep_up()
    assert service.restarts == 0
    clock[0] += 0.3
    service.keep_up()
    assert service.restarts == 1
    service.stop(0.0)
