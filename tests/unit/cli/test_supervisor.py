"""The supervisor: what leaves keeps nobody waiting."""

import time
from pathlib import Path

import pytest

from sluice_cli import platform as platforms
from sluice_cli import processes
from sluice_cli.demo.run import sample
from sluice_cli.platform import Platform
from sluice_cli.processes import Service, ServiceProcess

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
    stubborn: ServiceProcess, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr(ServiceProcess, "start", lambda self: started.append(self.service.name))
    monkeypatch.setattr(platforms, "check_free", lambda port: None)
    platform = Platform(folder / "home", sample(), 0)
    platform._running["canary-0"] = stubborn
    before = time.monotonic()
    platform._reconcile()
    assert time.monotonic() - before < 5.0
    until((folder / "asked").exists, "it was asked to leave")
    assert platform.pids() == {}
    platform._files.set_canary_replicas(1)
    platform._reconcile()
    assert started == [], "the one that leaves still has the port"
    monkeypatch.setattr(processes, "STOP_S", 0.0)
    stubborn.terminate()

    def back() -> bool:
        platform._reconcile()
        return started == ["canary-0"]

    until(back, "another takes its place")
    platform.stop()
