"""Several worker processes of a server: their values become one exposition, and each pushes its own gains."""

import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.metrics import DECLARED, INFO

WORKER = """
import sys
from sluice import instruments, metrics, statsd
from sluice.metrics import Process

pusher = statsd.Pusher(sys.argv[1], Process.FAISS)
for metric in metrics.DECLARED.values():
    labels = ["x"] * len(metric.labels)
    made = getattr(instruments, metric.kind)(metric.name)
    child = made.labels(*labels) if labels else made
    change = {"counter": "inc", "gauge": "set", "histogram": "observe"}[metric.kind]
    getattr(child, change)(float(sys.argv[2]))
pusher.stop()
print("done", flush=True)
sys.stdin.read()
"""
SCRAPE = """
import falcon, falcon.testing
from sluice.web.probes import Metrics

app = falcon.App()
app.add_route("/metrics", Metrics())
print(falcon.testing.TestClient(app).simulate_get("/metrics").text)
"""


@pytest.fixture
def daemon() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.settimeout(0.2)
        yield bound


def test_two_workers(tmp_path: Path, daemon: socket.socket) -> None:
    address = f"127.0.0.1:{daemon.getsockname()[1]}"
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PATH": ""}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, address, value],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for value in ("1", "4")
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"done\n"
        text = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(SCRAPE)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
        ).stdout
    finally:
        for worker in workers:
            worker.communicate(timeout=10)
    lines = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line[:1] == "s"
    }
    for metric in DECLARED.values():
        if metric.name == INFO:
            continue
        suffix = "_sum" if metric.kind == "histogram" else ""
        [value] = [value for key, value in lines.items() if key.partition("{")[0] == metric.name + suffix]
        expected = {"livemin": 1.0, "livemax": 4.0}[metric.across] if metric.kind == "gauge" else 5.0
        assert value == expected, metric.name

    sent = received(daemon)
    gains = [line for line in sent if line.startswith("sluice_requests_total:")]
    assert sorted(gain.partition("|")[0] for gain in gains) == [
        "sluice_requests_total:1",
        "sluice_requests_total:4",
    ]
    levels = [line for line in sent if line.startswith("sluice_headroom_bytes:")]
    assert sorted(level.rpartition("worker:")[2] for level in levels) == sorted(
        str(each.pid) for each in workers
    )


def received(daemon: socket.socket) -> list[str]:
    lines: list[str] = []
    while True:
        try:
            lines += daemon.recv(65_536).decode().splitlines()
        except TimeoutError:
            return lines
