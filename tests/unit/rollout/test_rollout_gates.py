"""Gates: every verdict of every kind of evidence, as named tables."""

import itertools
import math
from typing import Any

import msgspec
import pytest

from sluice import lint
from sluice.evidence import EvidenceTotals, Hits
from sluice.model import (
    API_VERSION,
    KIND,
    Algorithm,
    AlgorithmType,
    CompareTo,
    Gate,
    GateSource,
    GateStep,
    Metadata,
    ModelSpec,
    OnTimeout,
    RecommenderModel,
    Rollout,
)
from sluice_operator.rollout import Measurement, Observation, RolloutState, SnapshotInfo, Verdict
from sluice_operator.rollout.gates import failed, measure, snapshot_refusal, timeout_effect, undecided
from sluice_operator.rollout.readings import reader

NOW = 10_000.0
STATE = RolloutState(
    rollout="r",
    stable="old",
    candidate="new",
    weight=5,
    weight_epoch=3,
    rollout_started_at=NOW - 600,
    step_started_at=NOW - 300,
    weight_started_at=NOW - 300,
    last_promotion={"recall@20": 0.12},
)


def gate(**fields: Any) -> Gate:
    return msgspec.convert({"name": "g"} | fields, Gate)


def seen(metrics: dict[str, float] | None = None, weight_epoch: int = 3, **evidence: Any) -> Observation:
    ages = {"paired_at": NOW - 2, "requests_at": NOW - 2, "hits_at": NOW - 2}
    return Observation(
        spec_hash="h",
        snapshots=(SnapshotInfo(id="new", spec_hash="h", metrics=metrics or {}),),
        evidence=EvidenceTotals(**(ages | evidence)),
        evidence_rollout="r",
        evidence_weight_epoch=weight_epoch,
    )


STABLE = {"source": "Prequential", "metric": "recall@20", "compareTo": "Stable", "margin": "0.02"}
POPULAR = STABLE | {"compareTo": "Popular", "margin": "0"}
LAST = STABLE | {"compareTo": "LastPromotion", "margin": "0.03"}


@pytest.mark.parametrize(
    ("name", "fields", "n", "difference", "expected"),
    [
        ("as good as stable passes", STABLE, 5000, 0.0, Verdict.PASS),
        ("much better passes early", STABLE, 1000, 0.05, Verdict.PASS),
        ("as good but too few events", STABLE, 300, 0.0, Verdict.INCONCLUSIVE),
        ("much worse fails", STABLE, 5000, -0.05, Verdict.FAIL),
        ("just at the margin never decides", STABLE, 5000, -0.02, Verdict.INCONCLUSIVE),
        (
            "below minSamples even much worse waits",
            STABLE | {"minSamples": 6000},
            5000,
            -0.05,
            Verdict.INCONCLUSIVE,
        ),
        ("better than popularity", POPULAR, 5000, 0.0, Verdict.PASS),
        ("not below the last promotion", LAST, 5000, 0.02, Verdict.PASS),
        ("far below the last promotion", LAST, 5000, -0.09, Verdict.FAIL),
        (
            "above a floor",
            {"source": "Prequential", "metric": "recall@20", "min": "0.05"},
            5000,
            0.0,
            Verdict.PASS,
        ),
        (
            "below a floor",
            {"source": "Prequential", "metric": "recall@20", "min": "0.2"},
            5000,
            0.0,
            Verdict.FAIL,
        ),
        ("an unknown metric waits", STABLE | {"metric": "mrr"}, 5000, 0.0, Verdict.INCONCLUSIVE),
    ],
)
def test_prequential(
    name: str, fields: Any, n: int, difference: float, expected: Verdict, paired: Any
) -> None:
    found = measure(gate(**fields), STATE, seen(paired={"recall@20": paired(n, difference)}), NOW)
    assert found.verdict == expected, (name, found)


def test_first_promotion_has_nothing_to_fall_below() -> None:
    state = msgspec.structs.replace(STATE, last_promotion={})
    assert measure(gate(**LAST), state, seen(), NOW).verdict == Verdict.PASS


def test_missing_samples_would_decide(paired: Any) -> None:
    found = measure(gate(**STABLE), STATE, seen(paired={"recall@20": paired(800, 0.0)}), NOW)
    assert found.verdict == Verdict.INCONCLUSIVE
    assert found.missing_samples == pytest.approx(500, abs=120)
    assert found.missing_s == pytest.approx(found.missing_samples * 600 / 800, abs=1)
    assert "needs about " in found.reason
    after = 800 + found.missing_samples
    again = measure(gate(**STABLE), STATE, seen(paired={"recall@20": paired(after, 0.0)}), NOW)
    assert again.verdict == Verdict.PASS


RATE = {"source": "Online", "metric": "errorRate", "max": "0.01", "minSamples": 200}
P99 = {"source": "Online", "metric": "p99Milliseconds", "max": "50", "minSamples": 200}


@pytest.mark.parametrize(
    ("name", "fields", "counts", "expected"),
    [
        ("no errors in 480", RATE, (480, 0, 0), Verdict.PASS),
        ("no errors in 300 is too few", RATE, (300, 0, 0), Verdict.INCONCLUSIVE),
        ("a tenth are errors", RATE, (500, 50, 0), Verdict.FAIL),
        ("errors before minSamples wait", RATE, (150, 100, 0), Verdict.INCONCLUSIVE),
        ("no requests", RATE, (0, 0, 0), Verdict.INCONCLUSIVE),
        ("all fast", P99, (480, 0, 0), Verdict.PASS),
        ("a tenth are slow", P99, (500, 0, 50), Verdict.FAIL),
        ("one in a hundred is the limit", P99, (1000, 0, 10), Verdict.INCONCLUSIVE),
    ],
)
def test_requests(name: str, fields: Any, counts: Any, expected: Verdict, requests_of: Any) -> None:
    found = measure(gate(**fields), STATE, seen(requests={"new": requests_of(*counts)}), NOW)
    assert found.verdict == expected, (name, found)


def test_requests_under_a_weight_given_earlier_do_not_count(requests_of: Any) -> None:
    observed = seen(weight_epoch=2, requests={"new": requests_of(5000)})
    assert measure(gate(**RATE), STATE, observed, NOW).verdict == Verdict.INCONCLUSIVE


def hits(users: int, rate: float) -> Hits:
    """Return users with 10 answers each, all hits on some of the users."""
    hit = int(users * rate)
    return Hits(
        users=users,
        answers=10 * users,
        hits=10 * hit,
        answers_squared=100.0 * users,
        hits_squared=100.0 * hit,
        answers_hits=100.0 * hit,
    )


HITS = {"source": "Online", "metric": "hitRate", "compareTo": "Stable", "margin": "0.1", "minSamples": 100}
FLOOR = {"source": "Online", "metric": "hitRate", "min": "0.1"}


@pytest.mark.parametrize(
    ("name", "fields", "candidate", "stable", "expected"),
    [
        ("the same", HITS, hits(3000, 0.2), hits(9000, 0.2), Verdict.PASS),
        ("much worse", HITS, hits(3000, 0.1), hits(9000, 0.4), Verdict.FAIL),
        ("too few users", HITS, hits(90, 0.9), hits(9000, 0.2), Verdict.INCONCLUSIVE),
        (
            "one user has no variance",
            HITS | {"minSamples": 1},
            hits(1, 1.0),
            hits(9000, 0.2),
            Verdict.INCONCLUSIVE,
        ),
        (
            "nobody ever hit, few users",
            HITS | {"minSamples": 1},
            hits(20, 0.0),
            hits(20, 0.0),
            Verdict.INCONCLUSIVE,
        ),
        ("stable has no answers", HITS, hits(3000, 0.2), Hits(), Verdict.INCONCLUSIVE),
        ("above a floor", FLOOR, hits(3000, 0.3), Hits(), Verdict.PASS),
    ],
)
def test_hits(name: str, fields: Any, candidate: Hits, stable: Hits, expected: Verdict) -> None:
    found = measure(gate(**fields), STATE, seen(hits={"new": candidate, "old": stable}), NOW)
    assert found.verdict == expected, (name, found)


@pytest.mark.parametrize(
    ("name", "fields", "evidence", "expected"),
    [
        ("paired is stale", STABLE, {"paired_at": NOW - 61}, Verdict.ERROR),
        ("paired is fresh enough", STABLE, {"paired_at": NOW - 60}, Verdict.PASS),
        ("paired was never written", STABLE, {"paired_at": None}, Verdict.ERROR),
        ("requests are stale", RATE, {"requests_at": NOW - 61}, Verdict.ERROR),
        ("hits are stale", HITS, {"hits_at": NOW - 61}, Verdict.ERROR),
    ],
)
def test_staleness(name: str, fields: Any, evidence: Any, expected: Verdict, paired: Any) -> None:
    found = measure(gate(**fields), STATE, seen(paired={"recall@20": paired(5000, 0.0)}, **evidence), NOW)
    assert found.verdict == expected, (name, found)


@pytest.mark.parametrize("field", ["step_started_at", "weight_started_at"])
def test_a_new_step_or_weight_gives_writers_grace(field: str) -> None:
    state = msgspec.structs.replace(STATE, **{field: NOW - 60})
    assert measure(gate(**STABLE), state, seen(paired_at=None), NOW).verdict == Verdict.INCONCLUSIVE


def test_evidence_of_another_rollout_does_not_count(paired: Any) -> None:
    observed = msgspec.structs.replace(
        seen(paired={"recall@20": paired(5000, 0.0)}), evidence_rollout="another"
    )
    assert measure(gate(**STABLE), STATE, observed, NOW).verdict == Verdict.ERROR


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        (
            "a Snapshot gate cannot compare",
            {"source": "Snapshot", "metric": "m", "compareTo": "Stable"},
            "cannot",
        ),
        ("no bound at all", {"source": "Prequential", "metric": "mrr"}, "neither"),
        ("errors are not compared", RATE | {"compareTo": "Stable"}, "cannot"),
        ("an unknown online metric", {"source": "Online", "metric": "clicks", "min": "1"}, "cannot"),
        ("p99 has no minimum", {"source": "Online", "metric": "p99Milliseconds", "min": "1"}, "takes max"),
    ],
)
def test_what_cannot_be_measured_is_an_error(name: str, fields: Any, expected: str) -> None:
    found = measure(gate(**fields), STATE, seen(), NOW)
    assert found.verdict == Verdict.ERROR
    assert expected in found.reason


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_never_pass_and_survive_json(bad: float, paired: Any) -> None:
    sums = msgspec.structs.replace(paired(5000, 0.0), candidate=bad, candidate_squared=bad)
    for fields, observed in (
        (STABLE, seen(paired={"recall@20": sums})),
        ({"source": "Snapshot", "metric": "m", "min": "0"}, seen(metrics={"m": bad})),
    ):
        found = measure(gate(**fields), STATE, observed, NOW)
        assert found.verdict == Verdict.ERROR
        assert msgspec.json.decode(msgspec.json.encode(found), type=Measurement) == found


SNAPSHOT = {"source": "Snapshot", "metric": "indexRecall", "min": "0.98"}


@pytest.mark.parametrize(
    ("metrics", "extra", "passes"),
    [
        ({"indexRecall": 0.98}, {}, True),
        ({"indexRecall": 0.979}, {}, False),
        ({}, {}, False),
        ({"indexRecall": 0.1}, {"dryRun": True}, True),
        ({"indexRecall": 0.99}, {"max": "0.985"}, False),
        ({"indexRecall": 0.99}, {"minSamples": 1000}, True),
    ],
)
def test_snapshot_gates(metrics: dict[str, float], extra: dict[str, Any], passes: bool) -> None:
    info = SnapshotInfo(id="new", spec_hash="h", metrics=metrics)
    assert (snapshot_refusal((gate(**SNAPSHOT, **extra),), info) is None) == passes


def measured(name: str, verdict: Verdict, dry_run: bool = False) -> Measurement:
    return Measurement(gate=name, verdict=verdict, reason="", dry_run=dry_run)


def test_dry_run_neither_fails_nor_waits() -> None:
    dry = (measured("a", Verdict.FAIL, dry_run=True), measured("b", Verdict.PASS))
    assert failed(dry) is None
    assert undecided(GateStep(names=("a", "b")), dry) == ()


def test_a_name_without_gate_never_passes() -> None:
    assert [each.gate for each in undecided(GateStep(names=("gone",)), ())] == ["gone"]


@pytest.mark.parametrize(
    ("effects", "expected"),
    [
        (["Proceed"], OnTimeout.PROCEED),
        (["Proceed", "Pause"], OnTimeout.PAUSE),
        (["Pause", "Rollback", "Proceed"], OnTimeout.ROLLBACK),
    ],
)
def test_the_strictest_timeout_wins(effects: list[str], expected: OnTimeout) -> None:
    gates = tuple(gate(**(STABLE | {"name": f"g{i}", "onTimeout": e})) for i, e in enumerate(effects))
    waits = tuple(measured(each.name, Verdict.INCONCLUSIVE) for each in gates)
    assert timeout_effect(gates, waits) == expected


def test_what_lint_lets_through_can_be_measured() -> None:
    """Every gate that lint finds no fault with has a reader that reads a number from full evidence."""
    bounds = (None, "0", "0.1", "1", "50")
    sound = 0
    for source, metric, compared, low, high, margin in itertools.product(
        GateSource, ("recall@20", "mrr", "hitRate", "errorRate", "p99Milliseconds", "indexRecall"),
        (None, *CompareTo), bounds, bounds, (None, "0", "0.1"),
    ):  # fmt: skip
        asked = Gate(
            name="g", source=source, metric=metric, compare_to=compared, min=low, max=high, margin=margin
        )
        spec = ModelSpec(algorithm=Algorithm(type=AlgorithmType.GMF), rollout=Rollout(gates=(asked,)))
        model = RecommenderModel(api_version=API_VERSION, kind=KIND, metadata=Metadata(name="m"), spec=spec)
        if lint.check(model):
            continue
        sound += 1
        read = reader(asked)
        assert read is not None, asked
        assert "takes max" not in measure(asked, STATE, seen(), NOW).reason
    assert sound > 50


def test_evidence_of_a_time_far_ahead_is_no_evidence(paired: Any) -> None:
    """A clock was set back: whether its writer still lives cannot be told."""
    for ahead, expected in ((30, Verdict.PASS), (61, Verdict.ERROR)):
        observed = seen(paired={"recall@20": paired(5000, 0.05)}, paired_at=NOW + ahead)
        assert measure(gate(**STABLE), STATE, observed, NOW).verdict == expected


def test_what_repeats_by_user_has_wider_bounds(paired: Any) -> None:
    """Against stable users cancel out; against popularity and a fixed limit they do not."""
    observed = seen(paired={"recall@20": paired(5000, 0.0)})
    found = [measure(gate(**fields), STATE, observed, NOW) for fields in (STABLE, LAST)]
    widths = [each.upper - each.lower for each in found]
    sds = [math.sqrt(0.235**2 + 1 / 5000), math.sqrt(0.5 * 0.235**2 + 0.05 - 0.01 + 1 / 5000)]
    assert widths[1] / widths[0] == pytest.approx(math.sqrt(4.6) * sds[1] / sds[0], rel=1e-6)
