"""Two looks at a platform whose numbers are easy to check by hand."""

import msgspec
import pytest

from sluice_cli.fleet import LocalProcess
from sluice_cli.top.exposition import parse
from sluice_cli.top.looking import Loaded, Look, Refused, Seen, Shelf, Told
from sluice_cli.top.procfs import Usage
from sluice_operator.rollout.state import (
    Measurement,
    Note,
    NoteType,
    Phase,
    RolloutState,
    Verdict,
)

API = """
sluice_info{{service="recommender",version="1"}} 1
sluice_requests_total{{route="/v1/recommendations",status="200"}} {ok}
sluice_requests_total{{route="/v1/recommendations",status="503"}} {failed}
sluice_requests_total{{route="/metrics",status="200"}} 1000
sluice_request_seconds_bucket{{route="/v1/recommendations",le="0.01"}} {fast}
sluice_request_seconds_bucket{{route="/v1/recommendations",le="0.02"}} {ok}
sluice_request_seconds_bucket{{route="/v1/recommendations",le="+Inf"}} {ok}
sluice_request_seconds_bucket{{route="/metrics",le="+Inf"}} 1000
sluice_answers_total{{model="default.home",track="stable",strategy="personalized"}} {ok}
sluice_answers_total{{model="default.home",track="candidate",strategy="popular"}} {failed}
sluice_fallbacks_total{{model="default.home",reason="no-pod"}} {failed}
sluice_events_accepted_total{{topic="shop.interactions"}} {ok}
"""
PROFILES = """
sluice_info{service="profiles",version="1"} 1
sluice_lag_events{topic="shop.interactions",partition="1"} 3
sluice_lag_events{topic="shop.interactions",partition="0"} 1200
sluice_delay_seconds{topic="shop.interactions",partition="0"} 0.04
sluice_events_rejected_total{topic="shop.interactions",reason="bad-field"} 2
sluice_events_repeated_total{topic="shop.interactions"} 5
sluice_dead_letters 2
"""
FAISS = 'sluice_info{service="faiss",version="1"} 1\nsluice_overlay_items 620\n'
TRAINER = """
sluice_info{{service="trainer",version="1"}} 1
sluice_events_learned_total {learned}
sluice_lag_events{{topic="shop.interactions",partition="0"}} 12
"""
STATE = RolloutState(
    epoch=9,
    phase=Phase.PROGRESSING,
    message="step 2 of 4 (gate recall): needs about 800 more samples, ~20 s",
    stable="gmf-000034006-aaaa",
    candidate="gmf-000036506-bbbb",
    step=1,
    weight=50,
    measurements=(
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
        Measurement(gate="errors", verdict=Verdict.FAIL, reason="", value=0.05, threshold=0.02, samples=300),
    ),
    notes=(
        Note(type=NoteType.NORMAL, reason="WeightSet", message="weight 50", number=1, epoch=8, at=1_000.0),
        Note(type=NoteType.WARNING, reason="Aborted", message="bad \x1b[2J", number=2, epoch=9, at=1_000.0),
    ),
)


def seen(
    name: str,
    exposition: str | None,
    *,
    cpu_s: float = 1.0,
    told: Told | None = None,
    shelf: Shelf | None = None,
) -> Seen:
    process = LocalProcess(
        name=name, pid=100, started=900.0, restarts=int(name == "profiles"), url=f"http://{name}"
    )
    metrics = None if exposition is None else parse(exposition)
    service = "" if metrics is None else metrics.series("sluice_info")[0][0]["service"]
    return Seen(
        process=process,
        usage=Usage(cpu_s, 50_000_000),
        metrics=metrics,
        service=service,
        told=told or Told(),
        shelf=shelf,
    )


def looked(at: float, ok: int, failed: int, fast: int, learned: int, cpu_s: float) -> Look:
    quality = {"samples": 4_350.0, "recall@20": 0.118, "popular:recall@20": 0.094, "window:recall@20": 0.12}
    shelf = Shelf(
        wanted=[],
        loaded=[Loaded("gmf-000034006-aaaa", 361, 121_600)],
        refused=[Refused("gmf-000036506-bbbb", "sha256 of items.index is wrong")],
        headroom_bytes=24_000_000_000,
    )
    return Look(
        at=at,
        api="http://127.0.0.1:8080",
        processes=(
            seen("api", API.format(ok=ok, failed=failed, fast=fast), cpu_s=cpu_s),
            seen("stable-0", FAISS, shelf=shelf),
            seen("profiles", PROFILES),
            seen(
                "trainer",
                TRAINER.format(learned=learned),
                told=Told(
                    model="default.home", algorithm="GMF", interactions=learned, items=514, users=198,
                    snapshots=2, quality=quality,
                ),
            ),
            seen(
                "controller",
                'sluice_info{service="controller",version="1"} 1\n',
                told=Told(rollouts={"default.home": STATE}),
            ),
            seen("canary-0", None),
        ),
    )  # fmt: skip


@pytest.fixture
def before() -> Look:
    return looked(1_000.0, ok=100, failed=2, fast=90, learned=5_000, cpu_s=10.0)


@pytest.fixture
def now() -> Look:
    return looked(1_005.0, ok=200, failed=7, fast=180, learned=5_500, cpu_s=10.5)


@pytest.fixture
def restarted(now: Look) -> Look:
    """The API began anew between the looks."""
    api = seen("api", API.format(ok=20, failed=0, fast=20), cpu_s=0.1)
    process = msgspec.structs.replace(api.process, started=1_003.0, restarts=1)
    return msgspec.structs.replace(
        now, processes=(msgspec.structs.replace(api, process=process), *now.processes[1:])
    )
