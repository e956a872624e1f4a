"""``sluice top`` tells plainly when there is nothing to show, and prints one frame where no terminal is."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import prometheus_client
import pytest
from typer.testing import CliRunner

from sluice import instruments, metrics, status
from sluice.metrics import Process
from sluice_cli import fleet
from sluice_cli.commands import top
from sluice_cli.main import app


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A profiles process's address."""
    registry = prometheus_client.CollectorRegistry()
    registry.register(instruments.with_instruments())
    instruments.gauge(metrics.INFO).clear()  # another test may have introduced another process
    instruments.introduce(Process.PROFILES)
    server = status.serve("127.0.0.1", 0, registry=registry)
    yield f"http://127.0.0.1:{server.server_port}"
    server.stop()


def invoked(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["top", *arguments])
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize("made", [False, True])
def test_nothing_runs(tmp_path: Path, made: bool) -> None:
    if made:
        fleet.Files(tmp_path)
    code, out, err = invoked("--home", str(tmp_path))
    assert (code, out) == (1, "")
    assert err == (
        f"sluice: no platform runs in {tmp_path}; start one with sluice up --home {tmp_path},"
        " or give --home or --url\n"
    )


def test_a_supervisor_that_was_killed_runs_nothing(tmp_path: Path) -> None:
    told = fleet.LocalPlatform(pid=2**22 + 1, started=1.0, model_file="", api="", processes=[])
    fleet.Files(tmp_path).set_platform(told)
    assert invoked("--home", str(tmp_path))[0] == 1


def test_an_address_must_be_one() -> None:
    code, _, err = invoked("--url", "localhost:8080")
    assert code == 2
    assert "--url localhost:8080 is no address" in err


def test_nothing_answers() -> None:
    code, _, err = invoked("--url", "http://127.0.0.1:9", "--once")
    assert code == 1
    assert err == "sluice: nothing answers at http://127.0.0.1:9; check the addresses\n"


def test_one_frame_without_a_terminal(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top, "BETWEEN_S", 0.0)
    code, out, _ = invoked("--url", url)
    assert code == 0
    assert out.startswith("Sluice top ")
    assert url.removeprefix("http://") in out
    assert "\x1b" not in out


def test_json(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(top, "BETWEEN_S", 0.0)
    code, out, _ = invoked("--url", url, "--url", "http://127.0.0.1:9", "--json")
    assert code == 0
    rows = json.loads(out)["processes"]
    assert [(row["service"], row["answers"]) for row in rows] == [("profiles", True), ("", False)]


def test_a_terminal_shows_it_live_until_q(url: str) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "sluice_cli.main", "top", "--url", url]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    try:
        drawn = until(ours, b"Sluice top")
        os.write(ours, b"2")
        drawn += until(ours, b"Sluice top")
        os.write(ours, b"q")
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert url.removeprefix("http://").encode() in drawn


def until(descriptor: int, text: bytes, timeout_s: float = 20.0) -> bytes:
    read, deadline, looking = (
        b"",
        time.monotonic() + timeout_s,
        select.poll(),
    )  # knows any number, select() does not
    looking.register(descriptor, select.POLLIN)
    while text not in read:
        ready = looking.poll(1e3 * max(0.0, deadline - time.monotonic()))
        assert ready, f"not shown within {timeout_s} s: {text!r}; there is {read[-2_000:]!r}"
        read += os.read(descriptor, 65_536)
    return read
