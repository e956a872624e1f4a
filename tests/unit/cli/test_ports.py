"""Ports of local platforms: taken once, whoever asks."""

import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.errors import InvalidSetting
from sluice_cli import ports

TAKE = """
import random, sys
from sluice_cli import ports
random.seed(7)
with ports.Reserved() as reserved:
    print(*(reserved.take() for _ in range(40)), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def taker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Another process that would take the very same ports, and holds them until its stdin ends."""
    environment = {"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    monkeypatch.setattr(ports.tempfile, "gettempdir", lambda: str(tmp_path))
    ports._reservations.cache_clear()
    yield process
    process.kill()
    process.communicate()
    ports._reservations.cache_clear()


def test_two_platforms_started_at_once_take_different_ports(taker: subprocess.Popen[str]) -> None:
    assert taker.stdout is not None
    theirs = {int(word) for word in taker.stdout.readline().split()}
    random.seed(7)
    with ports.Reserved() as reserved:
        ours = {reserved.take() for _ in range(40)}
    assert len(theirs) == len(ours) == 40
    assert not theirs & ours


def test_what_ends_a_platform_gives_its_ports_back(taker: subprocess.Popen[str]) -> None:
    assert taker.stdout is not None
    theirs = [int(word) for word in taker.stdout.readline().split()]
    taker.kill()
    taker.wait()
    random.seed(7)
    with ports.Reserved() as reserved:
        assert [reserved.take() for _ in range(40)] == theirs


def test_two_platforms_of_one_process_take_different_ports() -> None:
    with ports.Reserved() as one, ports.Reserved() as other:
        state = random.getstate()
        first = one.take()
        random.setstate(state)
        assert other.take() != first
    assert not ports._TAKEN


def test_a_port_that_something_listens_on_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listening, ports.Reserved() as reserved:
        listening.bind((ports.HOST, 0))
        listening.listen()
        port = listening.getsockname()[1]
        chosen = iter([port, port, 14_321])
        monkeypatch.setattr(ports.random, "randint", lambda *_: next(chosen))
        assert reserved.take() == 14_321
        with pytest.raises(InvalidSetting, match=rf"port {port} cannot be used: .*--port"):
            ports.check_free(port)
