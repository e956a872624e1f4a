"""What the rollout decides, simulated: the pure ``step``, pass by pass, on generated evidence in the real shape.

A candidate of stated quality rolls beside stable (recall@20 .15, 0.1 % errors, p99 30 ms) through the steps and
gates below; it is looked at in every pass. Evidence:

- paired: hit or miss of candidate and stable on the same events, difference per event with sd .235. Users come in
  bursts of 10 events; by measurement the differences of one user's events do not correlate (design effect .8 to
  1.0, see ``readings.DESIGN_EFFECT``), and two more rows show what happens if they did, with 1.5;
- hits: each user has a rate of their own, drawn from a beta distribution that gives a design effect of 4.6 at 20
  answers a user; users return;
- errors and latency: independent requests, lognormal times; a pass at weight w brings w % of the requests.

``stopped`` = never promoted (aborted, or paused by a gate). ``--quick`` does 50 rollouts each instead of 1,000.
"""

import argparse
import math
import multiprocessing
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import report
from numpy.typing import NDArray

from sluice.evidence import LATENCY_BOUNDS_MS, EvidenceTotals, Hits, Paired, Requests
from sluice.model import ModelSpec
from sluice.routing import BUCKETS
from sluice_operator.rollout import (
    Fleet,
    Group,
    Observation,
    Phase,
    Pod,
    RolloutState,
    ScaleCanary,
    SnapshotInfo,
    WantSnapshots,
    step,
)
from sluice_operator.rollout.confidence import ALPHA, guarded_sd, half_width, samples_to_clear

RECALL: Final = 0.15
MARGIN: Final = 0.0075
SD: Final = 0.235
DESIGN_EFFECT: Final = 4.6
BURST: Final = 10
PASS_S: Final = 10.0
PAIRED_A_PASS: Final = 500
REQUESTS_A_PASS: Final = 2_000
ANSWERS_A_PASS: Final = 400
USERS: Final = 4_000
HIT_RATE: Final = 0.1
MOST_PASSES: Final = 700

GATES: Final = [
    {"name": "recall", "source": "Prequential", "metric": "recall@20", "compareTo": "Stable",
     "margin": str(MARGIN), "minSamples": 1000},
    {"name": "hits", "source": "Online", "metric": "hitRate", "compareTo": "Stable", "margin": "0.05",
     "minSamples": 500, "onTimeout": "Proceed"},
    {"name": "errors", "source": "Online", "metric": "errorRate", "max": "0.005", "minSamples": 200},
    {"name": "latency", "source": "Online", "metric": "p99Milliseconds", "max": "50", "minSamples": 200},
]  # fmt: skip
STEPS: Final = [
    {"shadow": {"events": 2000}},
    {"gate": {"names": ["recall"], "timeout": "2h"}},
    {"setWeight": 5},
    {"gate": {"names": ["errors", "latency"], "timeout": "30m"}},
    {"setWeight": 50},
    {"gate": {"names": ["hits", "errors", "latency"], "timeout": "15m"}},
]
SPEC: Final = msgspec.convert(
    {"algorithm": {"type": "GMF"}, "rollout": {"steps": STEPS, "gates": GATES}}, ModelSpec
)


class Candidate(NamedTuple):
    """How good a candidate is: relative change of recall and hit rate, its error rate, its times' factor."""

    name: str
    change: float = 0.0
    errors: float = 0.001
    slower: float = 1.0
    paired_effect: float = 1.0


CANDIDATES: Final = (
    Candidate("equal"),
    Candidate("+10 % recall", 0.10),
    Candidate("-10 % recall", -0.10),
    Candidate("ten times the errors", errors=0.01),
    Candidate("doubled latency", slower=2.0),
    Candidate("equal, differences clustered", paired_effect=1.5),
    Candidate("-10 %, differences clustered", -0.10, paired_effect=1.5),
)


class Outcome(NamedTuple):
    """How one rollout ended. ``paired`` events until the recall gate let it through, 0 if it did not."""

    promoted: bool
    rejected: bool
    most_weight: int
    paired: int
    passes: int


def outcome_shares(change: float) -> NDArray[np.float64]:
    """Return the shares of events hit by (both, candidate only, stable only, none), with sd ``SD``."""
    difference = RECALL * change
    discordant = SD**2 + difference**2
    only = (discordant + difference) / 2, (discordant - difference) / 2
    both = RECALL - only[1]
    return np.array([both, *only, 1 - both - sum(only)])


def concentration(design_effect: float, size: int) -> float:
    """Return a Dirichlet's (or beta's) sum of parameters that gives this design effect in clusters of ``size``."""
    return (size - 1) / (design_effect - 1) - 1


class Traffic:
    """Evidence of one rollout, pass by pass."""

    def __init__(self, candidate: Candidate, chance: np.random.Generator) -> None:
        self._chance, self._of = chance, candidate
        self._paired = np.cumsum(self._bursts(MOST_PASSES), axis=0)
        each = concentration(DESIGN_EFFECT, 20)
        self._rates = chance.beta(HIT_RATE * each, (1 - HIT_RATE) * each, USERS)
        self._buckets = chance.integers(0, BUCKETS, USERS)
        self._answers, self._hits = np.zeros((2, USERS)), np.zeros((2, USERS))
        self._times = {1.0: bucket_shares(1.0), candidate.slower: bucket_shares(candidate.slower)}
        self._requests: dict[str, Requests] = {}
        self._weight_epoch = -1

    def _bursts(self, passes: int) -> NDArray[np.int64]:
        """Return events by outcome of each pass, ``(passes, 4)``."""
        shares = outcome_shares(self._of.change)
        if self._of.paired_effect == 1.0:
            return self._chance.multinomial(PAIRED_A_PASS, shares, passes)
        each = shares * concentration(self._of.paired_effect, BURST)
        drawn = self._chance.dirichlet(each, (passes, PAIRED_A_PASS // BURST))
        return self._chance.multinomial(BURST, drawn).sum(axis=1)

    def paired(self, number: int) -> Paired:
        """Return the sums after so many passes."""
        both, candidate, stable, _ = (float(each) for each in self._paired[number])
        return Paired(
            n=(number + 1) * PAIRED_A_PASS,
            candidate=both + candidate,
            stable=both + stable,
            candidate_squared=both + candidate,
            stable_squared=both + stable,
            candidate_stable=both,
        )

    def requests(self, weight: int, weight_epoch: int) -> dict[str, Requests]:
        """Return the requests since the weight was given, with this pass's."""
        if weight_epoch != self._weight_epoch:
            self._weight_epoch, self._requests = weight_epoch, {}
        n = REQUESTS_A_PASS * weight // 100
        if n:
            times = self._chance.multinomial(n, self._times[self._of.slower])
            errors = int(self._chance.binomial(n, self._of.errors))
            more = Requests(n=n, errors=errors, latency=tuple(times.tolist()))
            self._requests["new"] = self._requests.get("new", Requests()) + more
        return self._requests

    def hits(self, weight: int) -> dict[str, Hits]:
        """Return the hits of both tracks, with this pass's answers while there is a weight."""
        if weight:
            answers = np.bincount(self._chance.integers(0, USERS, ANSWERS_A_PASS), minlength=USERS)
            on_candidate = self._buckets < weight * (BUCKETS // 100)
            rates = np.minimum(self._rates * np.where(on_candidate, 1 + self._of.change, 1.0), 1.0)
            hits = self._chance.binomial(answers, rates)
            for arm, chosen in enumerate((~on_candidate, on_candidate)):
                self._answers[arm] += answers * chosen
                self._hits[arm] += hits * chosen
        return {name: _hits(self._answers[arm], self._hits[arm]) for arm, name in enumerate(("old", "new"))}


def _hits(answers: NDArray[np.float64], hits: NDArray[np.float64]) -> Hits:
    return Hits(
        users=int(np.count_nonzero(answers)),
        answers=int(answers.sum()),
        hits=int(hits.sum()),
        answers_squared=float(answers @ answers),
        hits_squared=float(hits @ hits),
        answers_hits=float(answers @ hits),
    )


def bucket_shares(slower: float) -> NDArray[np.float64]:
    """Return how lognormal times (median 12 ms, p99 30 ms) times ``slower`` fall into the buckets."""
    median, sigma = 12.0 * slower, math.log(30.0 / 12.0) / 2.3263
    below = [
        0.5 * (1 + math.erf(math.log(bound / median) / sigma / math.sqrt(2))) for bound in LATENCY_BOUNDS_MS
    ]
    shares = np.diff([0.0, *below, 1.0])
    return shares / shares.sum()


def roll(candidate: Candidate, seed: int) -> Outcome:
    """Roll one candidate out and return how it ended."""
    traffic = Traffic(candidate, np.random.default_rng([seed, CANDIDATES.index(candidate)]))
    state = RolloutState(phase=Phase.STABLE, stable="old", promoted=("old",))
    replicas, wanted = 0, {"stable": frozenset({"old"}), "canary": frozenset[str]()}
    infos = tuple(SnapshotInfo(id=name, spec_hash="h") for name in ("old", "new"))
    most_weight = paired = number = 0
    for number in range(MOST_PASSES):
        now = 1e6 + PASS_S * number
        seen = Observation(
            spec_hash="h",
            snapshots=infos,
            fleet=Fleet(stable=_pods("s", 4, wanted["stable"]), canary=_pods("c", replicas, wanted["canary"])),
            evidence=EvidenceTotals(
                paired={"recall@20": traffic.paired(number)},
                requests=traffic.requests(state.weight, state.weight_epoch),
                hits=traffic.hits(state.weight),
                paired_at=now, requests_at=now, hits_at=now,
            ),
            evidence_rollout=state.rollout,
            evidence_weight_epoch=state.weight_epoch,
        )  # fmt: skip
        state, actions = step(SPEC, state, seen, now)
        for action in actions:
            match action:
                case WantSnapshots(group=group, ids=ids):
                    wanted[group] = frozenset(ids)
                case ScaleCanary(replicas=count):
                    replicas = count
        most_weight = max(most_weight, state.weight)
        paired = paired or (state.step > 1) * (number + 1) * PAIRED_A_PASS
        if state.stable == "new" or state.aborted or state.phase == Phase.PAUSED:
            break
    return Outcome(state.stable == "new", bool(state.aborted), most_weight, paired, number + 1)


def _pods(name: str, count: int, held: frozenset[str]) -> Group:
    pods = tuple(Pod(name=f"{name}-{place}", ready=True, loaded=held, wanted=held) for place in range(count))
    return Group(desired=count, pods=pods)


def row(candidate: Candidate, outcomes: list[Outcome]) -> tuple[object, ...]:
    """Return the table's row of one kind of candidate."""
    total = len(outcomes)
    promoted, rejected = (sum(getattr(each, name) for each in outcomes) for name in ("promoted", "rejected"))
    early = sum(not each.promoted and each.most_weight < 50 for each in outcomes)
    through = sorted(each.paired for each in outcomes if each.paired) or [0]
    share = [
        f"{100 * count / total:.1f} %" for count in (promoted, rejected, total - promoted - rejected, early)
    ]
    usual, late = (through[min(int(q * len(through)), len(through) - 1)] for q in (0.5, 0.95))
    minutes = sum(each.passes for each in outcomes) / total * PASS_S / 60
    return candidate.name, total, *share, usual, late, f"{minutes:.0f}"


def simulate(rollouts: int) -> None:
    """Print what becomes of each kind of candidate."""
    columns = (
        "candidate", "rollouts", "promoted", "rejected", "paused", "stopped before 50", "paired median", "95 %", "min",
    )  # fmt: skip
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        rows = [
            row(each, pool.starmap(roll, [(each, seed) for seed in range(rollouts)], chunksize=25))
            for each in CANDIDATES
        ]
    report.table(columns, rows)


# --- coverage: looked at after every single event


def never_left(paths: int, events: int, design_effect: float, burst: int) -> tuple[float, float]:
    """Return in what shares of paths of an equal candidate the bounds ever exclude 0, above and below.

    Looked at after every event from the 1,000th (``minSamples``) on. Bursts of one user's events correlate.
    """
    chance = np.random.default_rng(7)
    counts = np.arange(1, events + 1)
    widths = np.array([half_width(1.0, n) for n in counts])
    wrong = np.zeros(2)
    shares = outcome_shares(0.0)
    for _ in range(paths):
        rates = np.tile(shares, (events // burst, 1))
        if design_effect > 1:
            rates = chance.dirichlet(shares * concentration(design_effect, burst), events // burst)
        drawn = (chance.random((events // burst, burst, 1)) > np.cumsum(rates, axis=1)[:, None, :3]).sum(
            axis=2
        )
        differences = np.where(drawn == 1, 1.0, np.where(drawn == 2, -1.0, 0.0)).ravel()
        means = np.cumsum(differences) / counts
        sds = np.sqrt(np.cumsum(differences**2) / counts - means**2 + 1.0 / counts)
        bounds = widths * sds
        wrong += [np.any((means - bounds)[1000:] > 0), np.any((means + bounds)[1000:] < 0)]
    return float(wrong[0] / paths), float(wrong[1] / paths)


def coverage(paths: int) -> None:
    """Print how often the bounds are ever wrong, beside what they promise."""
    rows = [
        (
            f"{design_effect:.1f} in bursts of {burst}",
            paths,
            *never_left(paths, 20_000, design_effect, burst),
            ALPHA,
        )
        for design_effect, burst in ((1.0, 10), (1.5, 10), (2.0, 20), (4.6, 20))
    ]
    report.table(
        ("design effect of paired events", "paths", "ever above", "ever below", "promised, both"), rows
    )


# --- how long it takes


def times() -> None:
    """Print margin × traffic → time: when an equal candidate (difference 0 so far) passes."""
    rows = []
    for margin in (0.005, 0.01, 0.02, 0.04):
        needed = samples_to_clear(guarded_sd(0.0, SD**2 * 10_000, 10_000), margin) or 0
        rows.append(
            (
                margin,
                needed,
                *(duration(needed / a_day) for a_day in (10_000, 100_000, 1_000_000, 10_000_000)),
            )
        )
    report.table(("margin", "paired events", "10 k a day", "100 k", "1 M", "10 M"), rows)


def duration(days: float) -> str:
    """Return days in the unit that reads best."""
    for unit, size in (("d", 1.0), ("h", 24.0), ("min", 1440.0)):
        if days * size >= 1.5:
            return f"{days * size:.1f} {unit}" if unit != "min" else f"{days * size:.0f} min"
    return f"{days * 86_400:.0f} s"


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rollouts", type=int, default=1000)
    options: Any = parser.parse_args()
    rollouts = 50 if options.quick else options.rollouts
    report.header(report.command())
    times()
    print()
    coverage(max(rollouts, 100))
    print()
    simulate(rollouts)


if __name__ == "__main__":
    main()
