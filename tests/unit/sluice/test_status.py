"""The small server of processes that serve nothing else."""

import json
import socket
from collections.abc import Iterator

import prometheus_client
import pytest
import urllib3

from sluice import status
from sluice.errors import InvalidSetting


class Told:
    reason: str | None = None


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def url(told: Told) -> Iterator[str]:
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.Gauge("sluice_level", "Level.", registry=registry).set(3)
    server = status.serve(
        "127.0.0.1", 0, lambda: {"model": "default.home"}, ready=lambda: told.reason, registry=registry
    )
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
