"""The small server of processes that serve nothing else."""

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import prometheus_client
import pytest
import urllib3
from structlog.testing import capture_logs

from sluice import status
from sluice.errors import InvalidSetting, StorageUnavailable


class Told:
    reason: str | None = None
    error: Exception | None = None
    asked: threading.Event
    answer: threading.Event

    def status(self) -> dict[str, Any]:
        self.asked.set()
        assert self.answer.wait(30.0)
        if self.error is not None:
            raise self.error
        return {"model": "default.home"}


@pytest.fixture
def told() -> Told:
    told = Told()
    told.asked, told.answer = threading.Event(), threading.Event()
    told.answer.set()
    return told


@pytest.fixture
def url(told: Told) -> Iterator[str]:
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.Gauge("sluice_level", "Level.", registry=registry).set(3)
    server = status.serve("127.0.0.1", 0, told.status, ready=lambda: told.reason, registry=registry)
    yield f"http://127.0.0.1:{server.server_port}"
    server.stop()


def test_what_it_answers(url: str) -> None:
    with urllib3.PoolManager(retries=False, timeout=5.0) as http:
        assert http.request("GET", f"{url}/healthz").status == 200
        assert json.loads(http.request("GET", f"{url}/status").data) == {"model": "default.home"}
        metrics = http.request("GET", f"{url}/metrics")
        assert metrics.headers["Content-Type"].startswith("text/plain; version=")
        assert b"sluice_level 3.0" in metrics.data
        assert http.request("GET", f"{url}/secrets").status == 404
        assert http.request("POST", f"{url}/metrics").status == 501


def test_not_ready_says_why(url: str, told: Told) -> None:
    with urllib3.PoolManager(retries=False, timeout=5.0) as http:
        assert http.request("GET", f"{url}/readyz").status == 200
        told.reason = "the log is away"
        answer = http.request("GET", f"{url}/readyz")
    assert (answer.status, answer.data) == (503, b"the log is away")


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InvalidSetting, match=rf"127\.0\.0\.1:{port}: .*; set another port"):
            status.serve("127.0.0.1", port)


def test_what_cannot_be_told_is_answered_too(url: str, told: Told, capfd: pytest.CaptureFixture[str]) -> None:
    with urllib3.PoolManager(retries=False, timeout=5.0) as http, capture_logs() as said:
        told.error = StorageUnavailable("the log is away")
        answer = http.request("GET", f"{url}/status")
        assert (answer.status, answer.data) == (503, b"the log is away")
        assert said == []
        told.error = ValueError("a defect")
        assert http.request("GET", f"{url}/status").status == 500
        assert http.request("GET", f"{url}/healthz").status == 200
    assert [(line["event"], line["path"]) for line in said] == [
        ("request raised an unexpected error", "/status")
    ]
    assert capfd.readouterr().err == ""


def test_a_client_that_is_gone_before_its_answer_is_not_worth_a_line(
    url: str, told: Told, capfd: pytest.CaptureFixture[str]
) -> None:
    told.answer.clear()
    host, port = url.removeprefix("http://").split(":")
    with capture_logs() as said:
        with socket.create_connection((host, int(port)), timeout=30.0) as client:
            client.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )  # resets when closed
            client.sendall(b"GET /status HTTP/1.0\r\n\r\n")
            assert told.asked.wait(30.0)
        told.answer.set()
        deadline = time.monotonic() + 30.0
        while any("process_request_thread" in each.name for each in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.001)
    assert said == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::1"])
def test_it_listens_on_any_address_of_either_family(host: str) -> None:
    if ":" in host and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        server = status.serve(host, 0)
    except InvalidSetting as error:
        if "address family" in str(error) or "cannot assign" in str(error):
            pytest.skip("no IPv6 here")
        raise
    local = "[::1]" if host == "::1" else "127.0.0.1"
    with urllib3.PoolManager(retries=False, timeout=5.0) as http:
        assert http.request("GET", f"http://{local}:{server.server_port}/healthz").status == 200
    server.stop()


def test_its_start_asks_no_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object) -> str:
        raise AssertionError("asked")

    for name in ("getfqdn", "gethostbyaddr", "getaddrinfo"):
        monkeypatch.setattr(socket, name, silent)
    status.serve("0.0.0.0", 0).stop()


def test_a_process_that_is_stuck_is_unhealthy_and_says_why() -> None:
    server = status.serve("127.0.0.1", 0, stuck=lambda: "no round has begun for 120 s")
    with urllib3.PoolManager(retries=False, timeout=5.0) as http:
        answer = http.request("GET", f"http://127.0.0.1:{server.server_port}/healthz")
    server.stop()
    assert (answer.status, answer.data) == (503, b"no round has begun for 120 s")
