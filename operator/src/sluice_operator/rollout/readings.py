"""Measuring: from evidence to a number with bounds, one small function per kind of evidence.

:data:`READERS` is the ordered table of everything that can be measured; :mod:`sluice_operator.rollout.gates`
turns what is read here into verdicts. A reader returns an :class:`Absent` when there is nothing to read.
"""

import math
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from sluice.evidence import EvidenceTotals, Hits, Paired, Requests
from sluice.model import CompareTo, Gate, GateSource
from sluice_operator.rollout.confidence import (
    Interval,
    cluster_sd,
    guarded_sd,
    half_width,
    samples_to_clear,
    share_interval,
    share_samples_to_clear,
)
from sluice_operator.rollout.observation import Observation, SnapshotInfo
from sluice_operator.rollout.state import RolloutState, Verdict

STALE_S: Final = 60.0
"""Evidence older than so many seconds is an error: its writer has missed 30 beats of 2 s."""

SLOW_SHARE: Final = 0.01
"""p99 ≤ limit exactly if at most this share of requests is slower than the limit."""

DESIGN_EFFECT: Final[dict[str | None, float]] = {"stable": 1.0, "popular": 2.3, None: 4.6}
"""By what a paired event is compared with: how many times the variance grows because users repeat.

Measured as the variance of user totals over that of events, recall@20 of GMF, snapshots 2,000 events apart
(ml-latest-small three times, ml-100k): candidate − stable .8 to 1.0 (what is special about a user befalls both
alike), candidate − popular 1.6 to 2.2, candidate alone 3.6 to 4.5.
"""

T = TypeVar("T")


class Scene(NamedTuple):
    """What a reader may look at."""

    state: RolloutState
    seen: Observation
    now: float

    @property
    def evidence(self) -> EvidenceTotals:
        """Return the evidence of this rollout; none if what was gathered belongs to another one."""
        known = self.state.rollout and self.seen.evidence_rollout == self.state.rollout
        return self.seen.evidence if known else EvidenceTotals()


class Reading(NamedTuple):
    """``interval`` should lie in [floor, ceiling]. ``needed`` estimates the samples in all that would decide.

    ``since`` is when counting began (Unix seconds), None if the number does not grow with time.
    """

    what: str
    interval: Interval
    floor: float
    ceiling: float
    samples: int
    needed: int | None = None
    since: float | None = None


class Absent(NamedTuple):
    """No number, and the verdict that follows."""

    verdict: Verdict
    reason: str


Reader = Callable[[Gate, Scene], Reading | Absent]


def limits(gate: Gate) -> tuple[float, float]:
    """Return a gate's ``min`` and ``max``; infinite where there is none."""
    floor = float(gate.min) if gate.min is not None else -math.inf
    return floor, float(gate.max) if gate.max is not None else math.inf


def read_snapshot(gate: Gate, snapshot: SnapshotInfo) -> Reading | Absent:
    """Read a metric that the trainer measured when it cut the snapshot: exact, known at once."""
    value = snapshot.metrics.get(gate.metric)
    if value is None:
        return Absent(Verdict.ERROR, f"snapshot {snapshot.id} records no {gate.metric}")
    return Reading(gate.metric, Interval(value, value, value), *limits(gate), gate.min_samples)


def _candidate_metric(gate: Gate, scene: Scene) -> Reading | Absent:
    info = scene.seen.snapshot(scene.state.candidate)
    if info is None:
        return Absent(Verdict.ERROR, "the catalog does not list the candidate")
    return read_snapshot(gate, info)


def _paired_with_stable(gate: Gate, scene: Scene) -> Reading | Absent:
    return _paired_difference(gate, scene, "stable")


def _paired_with_popular(gate: Gate, scene: Scene) -> Reading | Absent:
    return _paired_difference(gate, scene, "popular")


def _paired_difference(gate: Gate, scene: Scene, reference: str) -> Reading | Absent:
    """Read candidate − reference per event: Σd = Σc − Σr and Σd² = Σc² + Σr² − 2Σcr."""
    paired = _paired(gate, scene)
    if isinstance(paired, Absent):
        return paired
    total = paired.candidate - getattr(paired, reference)
    squares = paired.candidate_squared + getattr(paired, f"{reference}_squared")
    sd = guarded_sd(total, squares - 2.0 * getattr(paired, f"candidate_{reference}"), paired.n)
    sd *= math.sqrt(DESIGN_EFFECT[reference])
    bounds = (-float(gate.margin or 0), math.inf)
    return _mean(f"{gate.metric} candidate − {reference}", total / paired.n, sd, paired.n, bounds, scene)


def _against_last_promotion(gate: Gate, scene: Scene) -> Reading | Absent:
    last = scene.state.last_promotion.get(gate.metric)
    if last is None:
        return Absent(Verdict.PASS, f"no earlier promotion recorded {gate.metric}")
    return _candidate_mean(gate, scene, (last - float(gate.margin or 0), math.inf))


def _within_limits(gate: Gate, scene: Scene) -> Reading | Absent:
    return _candidate_mean(gate, scene, limits(gate))


def _candidate_mean(gate: Gate, scene: Scene, bounds: tuple[float, float]) -> Reading | Absent:
    paired = _paired(gate, scene)
    if isinstance(paired, Absent):
        return paired
    sd = guarded_sd(paired.candidate, paired.candidate_squared, paired.n) * math.sqrt(DESIGN_EFFECT[None])
    return _mean(gate.metric, paired.candidate / paired.n, sd, paired.n, bounds, scene)


def _hits_against_stable(gate: Gate, scene: Scene) -> Reading | Absent:
    """Read the difference of two hit rates; samples are the smaller arm's users."""
    arms = _hits(scene, scene.state.candidate, scene.state.stable)
    if isinstance(arms, Absent):
        return arms
    sd = cluster_sd(*((arm.rate_variance, arm.users) for arm in arms))
    bounds = (-float(gate.margin or 0), math.inf)
    users = min(arm.users for arm in arms)
    return _mean("hitRate candidate − stable", arms[0].rate - arms[1].rate, sd, users, bounds, scene)


def _hits_within_limits(gate: Gate, scene: Scene) -> Reading | Absent:
    arms = _hits(scene, scene.state.candidate)
    if isinstance(arms, Absent):
        return arms
    sd = cluster_sd((arms[0].rate_variance, arms[0].users))
    return _mean(gate.metric, arms[0].rate, sd, arms[0].users, limits(gate), scene)


def _error_rate(gate: Gate, scene: Scene) -> Reading | Absent:
    requests = _requests(scene)
    if isinstance(requests, Absent):
        return requests
    return _share(gate.metric, requests.errors, requests.n, limits(gate), scene)


def _slow_share(gate: Gate, scene: Scene) -> Reading | Absent:
    """Read p99 ≤ max as "at most 1 % of requests are slower than max", an exact test of a share."""
    if gate.max is None or gate.min is not None:
        return Absent(Verdict.ERROR, f"{gate.metric} takes max and nothing else")
    requests = _requests(scene)
    if isinstance(requests, Absent):
        return requests
    slow, timed = requests.slower_than(float(gate.max)), sum(requests.latency)
    return _share(f"share slower than {gate.max} ms", slow, timed, (-math.inf, SLOW_SHARE), scene)


READERS: Final[tuple[tuple[GateSource, str | None, CompareTo | None, Reader], ...]] = (
    # source, metric (None = any), compareTo, reader
    (GateSource.SNAPSHOT, None, None, _candidate_metric),
    (GateSource.PREQUENTIAL, None, CompareTo.STABLE, _paired_with_stable),
    (GateSource.PREQUENTIAL, None, CompareTo.POPULAR, _paired_with_popular),
    (GateSource.PREQUENTIAL, None, CompareTo.LAST_PROMOTION, _against_last_promotion),
    (GateSource.PREQUENTIAL, None, None, _within_limits),
    (GateSource.ONLINE, "hitRate", CompareTo.STABLE, _hits_against_stable),
    (GateSource.ONLINE, "hitRate", None, _hits_within_limits),
    (GateSource.ONLINE, "errorRate", None, _error_rate),
    (GateSource.ONLINE, "p99Milliseconds", None, _slow_share),
)


def reader(gate: Gate) -> Reader | None:
    """Return the first reader that fits a gate; None if the gate cannot be measured."""
    for source, metric, compare_to, read in READERS:
        if gate.source == source and metric in (None, gate.metric) and gate.compare_to == compare_to:
            return read
    return None


def paired_events(state: RolloutState, seen: Observation) -> int:
    """Return how many events were scored on both snapshots in this rollout, by any metric."""
    totals = Scene(state, seen, 0.0).evidence.paired.values()
    return max((paired.n for paired in totals), default=0)


def _mean(what: str, value: float, sd: float, n: int, bounds: tuple[float, float], scene: Scene) -> Reading:
    width = half_width(sd, n)
    needed = samples_to_clear(sd, _distance(value, *bounds))
    interval = Interval(value, value - width, value + width)
    return Reading(what, interval, *bounds, n, needed, scene.state.rollout_started_at)


def _share(what: str, bad: int, n: int, bounds: tuple[float, float], scene: Scene) -> Reading | Absent:
    if n <= 0:
        return Absent(Verdict.INCONCLUSIVE, "no requests counted yet")
    limit = next((bound for bound in reversed(bounds) if math.isfinite(bound)), SLOW_SHARE)
    needed = share_samples_to_clear(bad, n, limit)
    interval = share_interval(bad, n, limit)
    return Reading(what, interval, *bounds, n, needed, scene.state.weight_started_at)


def _distance(value: float, floor: float, ceiling: float) -> float:
    """Return how far a value lies from the limit that must be cleared: the nearer one, or the one violated."""
    return min(abs(value - bound) for bound in (floor, ceiling))


def _paired(gate: Gate, scene: Scene) -> Paired | Absent:
    evidence = scene.evidence
    paired = evidence.paired.get(gate.metric, Paired())
    late = _late("paired", evidence.paired_at, scene)
    return _counted(paired, paired.n, "paired events", late)


def _hits(scene: Scene, *snapshots: str | None) -> list[Hits] | Absent:
    evidence = scene.evidence
    arms = [evidence.hits.get(snapshot or "", Hits()) for snapshot in snapshots]
    fewest = min(min(arm.users, arm.answers) for arm in arms)
    late = _late("hit", evidence.hits_at, scene)
    return _counted(arms, fewest, "users with old enough answers", late)


def _requests(scene: Scene) -> Requests | Absent:
    """Return the candidate's requests since the present weight was given."""
    if scene.seen.evidence_weight_epoch != scene.state.weight_epoch:
        return Absent(Verdict.INCONCLUSIVE, "no requests counted yet")
    evidence = scene.evidence
    requests = evidence.requests.get(scene.state.candidate or "", Requests())
    late = _late("request", evidence.requests_at, scene)
    return _counted(requests, requests.n, "requests", late)


def _late(kind: str, at: float | None, scene: Scene) -> Absent | None:
    """Return what is wrong with the age of evidence; a new step or weight gives its writers STALE_S of grace.

    Evidence of a time that is far ahead tells that a clock was set back, and nothing about its writer.
    """
    if at is not None and at - scene.now > STALE_S:
        return Absent(
            Verdict.ERROR, f"the newest {kind} evidence is {at - scene.now:.0f} s ahead of the clock"
        )
    started = max(scene.state.step_started_at or 0.0, scene.state.weight_started_at or 0.0)
    if scene.now - max(at or 0.0, started) <= STALE_S:
        return None
    age = f"the newest is {scene.now - at:.0f} s old" if at is not None else "none was ever written"
    return Absent(Verdict.ERROR, f"no fresh {kind} evidence, {age}")


def _counted(evidence: T, samples: int, what: str, late: Absent | None) -> T | Absent:
    if late is not None:
        return late
    return evidence if samples > 0 else Absent(Verdict.INCONCLUSIVE, f"no {what} counted yet")
