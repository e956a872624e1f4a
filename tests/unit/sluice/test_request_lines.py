"""Requests that fail or are slow leave a line with their id and route; ids of users leave none."""

import time
from typing import Any

import falcon
import pytest
import structlog
from falcon import testing
from structlog.testing import capture_logs

from sluice.web import probes, problems
from sluice.web.probes import LINES_PER_S, Measured, Sparing
from sluice.web.request_ids import RequestIds


class Thing:
    def on_get(self, req: falcon.Request, resp: falcon.Response, user_id: str) -> None:
        if user_id == "broken":
            raise RuntimeError("boom")
        if user_id == "busy":
            raise falcon.HTTPServiceUnavailable


@pytest.fixture
def client() -> testing.TestClient:
    structlog.reset_defaults()  # every level: another test may have set a higher one
    app: Any = falcon.App(middleware=[RequestIds(), Measured()])
    problems.install(app)
    app.add_route("/v1/things/{user_id}", Thing())
    probes.add_probes(app, lambda: "still loading")
    return testing.TestClient(app)


def lines_of(client: testing.TestClient, path: str) -> list[Any]:
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        client.simulate_get(path, headers={"X-Request-Id": "r-1"})
    return lines


def test_a_request_that_fails(client: testing.TestClient) -> None:
    [line] = lines_of(client, "/v1/things/busy")
    assert (line["event"], line["log_level"], line["status"]) == ("request failed", "warning", 503)
    assert (line["request_id"], line["route"]) == ("r-1", "/v1/things/{user_id}")
    assert line["took_ms"] >= 0


def test_an_unexpected_error(client: testing.TestClient) -> None:
    raised, failed = lines_of(client, "/v1/things/broken")
    assert (raised["event"], raised["request_id"]) == ("request raised an unexpected error", "r-1")
    assert "broken" not in str({**raised, "exc_info": None})
    assert failed["status"] == 500


def test_a_slow_request(client: testing.TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(0, 100, 3))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))
    [line] = lines_of(client, "/v1/things/u")
    assert (line["event"], line["log_level"], line["took_ms"]) == ("request slow", "warning", 3_000.0)


def test_other_requests_are_told_at_level_debug_only(client: testing.TestClient) -> None:
    [line] = lines_of(client, "/v1/things/u")
    assert (line["event"], line["log_level"]) == ("request answered", "debug")
    assert [line["log_level"] for line in lines_of(client, "/v1/nothing")] == ["debug"]


def test_probes_leave_no_line(client: testing.TestClient) -> None:
    assert lines_of(client, "/readyz") == []


def test_an_outage_leaves_some_lines_a_second_and_says_how_many_it_withheld() -> None:
    now = [0.0]
    sparing = Sparing(lambda: now[0])
    told = [sparing() for _ in range(LINES_PER_S + 5)]
    assert told == [{}] * LINES_PER_S + [None] * 5
    now[0] = 1.0
    assert [sparing(), sparing()] == [{"withheld": 5}, {}]
