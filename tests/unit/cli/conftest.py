"""A finished run, for whatever shows one."""

import pytest

from sluice_cli.demo.record import Click, Point, Record, Told
from sluice_operator.rollout.state import Measurement, Phase, RolloutState, Verdict

BOUGHT = "<script>alert(1)</script> & Friends\x1b[31m"


def _points() -> list[Point]:
    return [
        Point(
            at=5.0 + step,
            streamed=200 * step,
            events_per_s=400.0,
            lag=12,
            evaluated=150 * step,
            recall=0.118 if step else None,
            popular_recall=0.0944 if step else None,
            window_recall=0.1 + 0.002 * (step % 7) if step else None,
            window_popular_recall=0.09 if step else None,
            weight=50 if 10 <= step < 20 else 0,
            phase="Progressing",
            stable="gmf-000034006-aaaa" if step < 20 else "gmf-000036506-bbbb",
            candidate="gmf-000036506-bbbb" if 5 <= step < 20 else None,
        )
        for step in range(30)
    ]


MEASUREMENTS = (
    Measurement(
        gate="fidelity", verdict=Verdict.PASS, reason="", value=1.0, lower=1.0, upper=1.0, threshold=0.98
    ),
    Measurement(
        gate="recall",
        verdict=Verdict.INCONCLUSIVE,
        reason="",
        value=-0.0042,
        lower=-0.0512,
        upper=0.0427,
        threshold=-0.04,
        samples=1612,
        missing_samples=794,
        missing_s=19.6,
    ),
    Measurement(gate="errors", verdict=Verdict.ERROR, reason="no fresh request evidence"),
    Measurement(gate="latency", verdict=Verdict.FAIL, reason="", value=0.02, samples=500, dry_run=True),
)


def finished_run() -> Record:
    return Record(
        dataset="ml-latest-small",
        note="Streaming MovieLens.",
        algorithm="GMF",
        events=39_806,
        history=34_006,
        total=48_580,
        stage="streaming",
        seconds_to_first_answer=14.2,
        points=_points(),
        told=[
            Told(at=8.0, reason="Promoted", message="gmf-000034006-aaaa is stable, nothing was before"),
            Told(at=20.0, reason="Aborted", message="gate recall failed: -0.11 <b>", warning=True),
        ],
        clicks=[
            Click(
                user_id="448",
                clicked=BOUGHT,
                before=["Fargo", "Heat"],
                after=["Alien", "Fargo"],
                took_ms=38.4,
            )
        ],
        latencies_ms=[1.0 + place / 10 for place in range(200)],
        freshness_ms=[20.0 + place for place in range(50)],
        snapshots=["a", "b", "c"],
        promoted=["b"],
        rejected=["c"],
        rollout=RolloutState(
            phase=Phase.PROGRESSING,
            message="step 2 of 4 (gate recall)",
            rollout="r",
            stable="gmf-000034006-aaaa",
            candidate="gmf-000036506-bbbb",
            step=1,
            weight=50,
            measurements=MEASUREMENTS,
        ),
        api="http://127.0.0.1:8080",
    )


@pytest.fixture
def record() -> Record:
    return finished_run()


@pytest.fixture(scope="session")
def finished() -> Record:
    """The same run for tests that leave it as it is."""
    return finished_run()
