"""Two looks become rates, quantiles, lags and parts played."""

import msgspec
import pytest

from sluice_cli.top.looking import Look
from sluice_cli.top.reckoning import overview


def test_requests_are_rates_over_the_interval_without_probes(before: Look, now: Look) -> None:
    api = overview(before, now).requests
    assert api is not None
    assert (api.per_s, api.errors_per_s) == (21.0, 1.0)
    assert [row.route for row in api.routes] == ["/v1/recommendations"]
    assert api.p50_ms == pytest.approx(1e3 * 0.01 * 50 / 90)
    assert api.p99_ms == pytest.approx(19.0)
    assert api.strategies == {"personalized": 20.0, "popular": 1.0}
    assert (api.candidate_per_s, api.fallbacks) == (1.0, {"no-pod": 1.0})


def test_a_process_that_began_anew_gained_what_it_has(before: Look, restarted: Look) -> None:
    shown = overview(before, restarted)
    assert shown.requests is not None
    assert shown.requests.per_s == 4.0
    api = shown.processes[0]
    assert (api.restarts, api.uptime_s, api.cpu_percent) == (1, 2.0, None)


def test_processes(before: Look, now: Look) -> None:
    rows = {row.name: row for row in overview(before, now).processes}
    assert rows["api"].cpu_percent == pytest.approx(10.0)
    assert (rows["api"].uptime_s, rows["api"].memory_bytes) == (105.0, 50_000_000)
    assert [name for name, row in rows.items() if not row.answers] == ["canary-0"]
    assert rows["profiles"].restarts == 1


def test_the_stream(before: Look, now: Look) -> None:
    stream = overview(before, now).stream
    assert (stream.accepted_per_s, stream.rejected, stream.repeated) == (20.0, 2, 5)
    assert (stream.dead_letters, stream.overlay_items) == (2, 620)
    assert [(row.process, row.partition, row.lag, row.delay_s) for row in stream.lags] == [
        ("profiles", 0, 1200, 0.04),
        ("profiles", 1, 3, None),
        ("trainer", 0, 12, None),
    ]


def test_learning(before: Look, now: Look) -> None:
    [(model, learning)] = overview(before, now).learning.items()
    assert model == "default.home"
    assert (learning.events_per_s, learning.learned, learning.evaluated) == (100.0, 5_500, 4_350)
    assert (learning.recall, learning.popular_recall, learning.newest_popular_recall) == (0.118, 0.094, None)


def test_snapshots_have_their_parts_and_where_they_are(before: Look, now: Look) -> None:
    stable, candidate = overview(before, now).snapshots
    assert (stable.id, stable.role, stable.loaded, stable.bytes) == (
        "gmf-000034006-aaaa",
        "stable",
        ["stable-0"],
        121_600,
    )
    assert (candidate.role, candidate.loaded, candidate.bytes) == ("candidate", [], None)
    assert candidate.refused == {"stable-0": "sha256 of items.index is wrong"}


def test_a_platform_that_is_silent_has_no_numbers(before: Look) -> None:
    silent = msgspec.structs.replace(
        before,
        processes=tuple(
            msgspec.structs.replace(each, metrics=None, service="", told=type(each.told)(), shelf=None)
            for each in before.processes
        ),
    )
    shown = overview(silent, silent)
    assert (shown.requests, shown.learning, shown.snapshots, shown.rollouts) == (None, {}, [], {})
    assert not any(row.answers for row in shown.processes)


def test_it_is_json(before: Look, now: Look) -> None:
    document = msgspec.json.decode(msgspec.json.encode(overview(before, now)))
    assert document["rollouts"]["default.home"]["measurements"][0]["missingSamples"] == 794
    assert document["requests"]["routes"][0]["per_s"] == 21.0
