"""A small world around ``step``: what is observed can be set field by field, and every pass is checked."""

from typing import Any

import msgspec
import pytest

from sluice.evidence import LATENCY_BOUNDS_MS, EvidenceTotals, Hits, Paired, Requests
from sluice.model import ModelSpec
from sluice_operator.rollout import (
    Command,
    Fleet,
    Group,
    Observation,
    Phase,
    Pod,
    PublishRouting,
    RolloutState,
    ScaleCanary,
    SnapshotInfo,
    Verb,
    WantSnapshots,
    step,
)
from sluice_operator.rollout.state import Note, decided

GATES = [
    {"name": "fidelity", "source": "Snapshot", "metric": "indexRecall", "min": "0.98"},
    {
        "name": "recall",
        "source": "Prequential",
        "metric": "recall@20",
        "compareTo": "Stable",
        "margin": "0.02",
        "minSamples": 1000,
    },
    {"name": "errors", "source": "Online", "metric": "errorRate", "max": "0.01", "minSamples": 200},
]
STEPS = [
    {"shadow": {"events": 2000}},
    {"gate": {"names": ["recall"], "timeout": "30m"}},
    {"setWeight": 5},
    {"pause": {"duration": "60s"}},
    {"gate": {"names": ["errors"], "timeout": "30m"}},
    {"setWeight": 50},
    {"pause": {}},
]


def spec_with(steps: Any = STEPS, gates: Any = GATES, pin: str | None = None, **rollout: Any) -> ModelSpec:
    """Return a spec in terms of the manifest."""
    snapshots = {"historyLimit": 3} | ({"pin": pin} if pin else {})
    body = {
        "algorithm": {"type": "GMF"},
        "snapshots": snapshots,
        "rollout": {"steps": steps, "gates": gates} | rollout,
    }
    return msgspec.convert(body, ModelSpec)


def paired_sums(n: int, difference: float, sd: float = 0.235) -> Paired:
    """Return sums of ``n`` events whose difference to stable has this mean and deviation; popularity scores 0."""
    stable = 0.1 * n
    candidate = stable + difference * n
    cross = 0.05 * n
    squares = n * (sd * sd + difference * difference) + 2 * cross
    return Paired(
        n=n,
        candidate=candidate,
        stable=stable,
        candidate_squared=squares / 2,
        stable_squared=squares / 2,
        candidate_stable=cross,
    )


def request_counts(n: int, errors: int = 0, slow: int = 0) -> Requests:
    """Return ``n`` requests of 1 ms, ``slow`` of them 1 s."""
    latency = [0] * (len(LATENCY_BOUNDS_MS) + 1)
    latency[10], latency[40] = n - slow, slow
    return Requests(n=n, errors=errors, latency=tuple(latency))


class World:
    """Sets what is observed, makes passes, and checks in each what must always hold."""

    def __init__(self) -> None:
        self.spec = spec_with()
        self.state = RolloutState()
        self.now = 1_000.0
        self.spec_hash = "h1"
        self.snapshots: list[SnapshotInfo] = []
        self.stable_pods = ["s-0", "s-1", "s-2", "s-3"]
        self.stable_desired = 4
        self.headroom: int | None = None
        self.stable_loaded: dict[str, set[str]] = {}
        self.canary_pods: list[Pod] = []
        self.paired: Paired | None = None
        self.requests: Requests | None = None
        self.hits: dict[str, Hits] = {}
        self.commands: list[Command] = []
        self.stale = False
        self.auto = self.stable_ready = True
        self.actions: tuple[Any, ...] = ()
        self.notes: list[Note] = []

    # --- what is observed

    def cut(self, name: str, **fields: Any) -> None:
        """Add a snapshot to the catalog."""
        info = {"spec_hash": self.spec_hash, "metrics": {"indexRecall": 0.99}, "bytes": 100} | fields
        self.snapshots.append(SnapshotInfo(id=name, **info))

    def ask(self, verb: str, snapshot: str | None = None, step: int | None = None, name: str = "") -> None:
        """Show one more command."""
        name = name or f"c{len(self.commands)}"
        self.commands.append(Command(id=name, verb=Verb(verb), snapshot=snapshot, step=step))

    def observe(self) -> Observation:
        """Return the observation as it is now."""
        candidate, at = self.state.candidate, None if self.stale else self.now
        evidence = EvidenceTotals(
            paired={"recall@20": self.paired} if self.paired else {},
            requests={candidate: self.requests} if self.requests and candidate else {},
            hits=self.hits,
            paired_at=at,
            requests_at=at,
            hits_at=at,
        )
        stable = Group(desired=self.stable_desired, pods=tuple(self._stable(n) for n in self.stable_pods))
        canary = Group(desired=len(self.canary_pods), pods=tuple(self.canary_pods))
        return Observation(
            spec_hash=self.spec_hash,
            snapshots=tuple(self.snapshots),
            fleet=Fleet(stable=stable, canary=canary),
            evidence=evidence,
            evidence_rollout=self.state.rollout,
            evidence_weight_epoch=self.state.weight_epoch,
            commands=tuple(self.commands),
        )

    def _stable(self, name: str) -> Pod:
        loaded = frozenset(self.stable_loaded.get(name, set()))
        return Pod(name=name, ready=self.stable_ready, loaded=loaded, headroom_bytes=self.headroom)

    # --- passes

    def go(self, seconds: float = 0.0) -> "World":
        """Make one pass after so many seconds; with ``auto``, pods then do as they are told."""
        self.now += seconds
        seen, before = self.observe(), self.state
        self.state, self.actions = step(self.spec, before, seen, self.now)
        last = before.notes[-1].number if before.notes else 0
        self.notes = [note for note in self.state.notes if note.number > last]
        self._check(before, seen)
        if self.auto:
            self._obey()
        return self

    def until(self, phase: Phase, step_index: int | None = None, passes: int = 30) -> "World":
        """Make passes, 11 s apart, until a phase (and step) is reached."""
        for _ in range(passes):
            if self.state.phase == phase and step_index in (None, self.state.step):
                return self
            self.go(11)
        raise AssertionError(f"{phase}/{step_index} not reached: {self.state}")

    def _check(self, before: RolloutState, seen: Observation) -> None:
        after = self.state
        assert 0 <= after.weight <= 100
        assert after.epoch == before.epoch + decided(before, after)
        again, levels = step(self.spec, after, seen, self.now)
        assert again == after, "the same observation and time decided again"
        assert levels == self.actions
        assert isinstance(self.actions[0], PublishRouting)
        encoded = msgspec.json.encode(after)
        assert msgspec.json.decode(encoded, type=RolloutState) == after
        if after.weight > before.weight:
            ready = [pod for pod in seen.fleet.canary.pods if pod.ready and after.candidate in pod.loaded]
            assert ready, "weight without a ready pod that has it loaded"
        if after.candidate is None:
            assert after.weight == 0

    def _obey(self) -> None:
        wants = {each.group: set(each.ids) for each in self.actions if isinstance(each, WantSnapshots)}
        self.stable_loaded = {name: set(wants["stable"]) for name in self.stable_pods}
        self.canary(self.one(ScaleCanary).replicas, loaded=wants["canary"])

    def canary(self, count: int, loaded: set[str] | None = None, ready: bool = True) -> None:
        """Set the canary pods."""
        held = frozenset(loaded or set())
        self.canary_pods = [Pod(name=f"c-{i}", ready=ready, loaded=held) for i in range(count)]

    # --- what came out

    def one(self, kind: type[Any]) -> Any:
        """Return the only action of a kind."""
        (found,) = [each for each in self.actions if isinstance(each, kind)]
        return found

    @property
    def routing(self) -> tuple[str | None, str | None, int]:
        """Return what was published: stable, candidate, weight."""
        it = self.one(PublishRouting)
        return it.stable, it.candidate, it.weight

    def reasons(self) -> list[str]:
        """Return the reasons of this pass's notes."""
        return [note.reason for note in self.notes]

    def wants(self, group: str) -> tuple[str, ...]:
        """Return what a group was told to hold."""
        return next(
            each.ids for each in self.actions if isinstance(each, WantSnapshots) and each.group == group
        )

    # --- where tests begin

    def first(self) -> "World":
        """Serve s1 as the first snapshot."""
        self.cut("s1")
        return self.until(Phase.STABLE)

    def rolling(self, at: int = 0) -> "World":
        """Have s2 roll beside stable s1, at a step (index)."""
        self.first()
        self.go(11)
        self.cut("s2")
        self.until(Phase.PROGRESSING, 0)
        if at > 0:
            self.paired = paired_sums(5000, 0.005)
        if at > 4:
            self.go(11).go(61)
            self.requests = request_counts(1000)
        self.until(Phase.PROGRESSING, at)
        return self


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def make_spec() -> Any:
    return spec_with


@pytest.fixture
def paired() -> Any:
    return paired_sums


@pytest.fixture
def requests_of() -> Any:
    return request_counts


@pytest.fixture
def make_world() -> Any:
    return World
