"""A simulated world around the pure ``step``: two controllers race, pods come and go, people and clocks misbehave.

Routing, pods and catalog are fenced by epochs and the status is versioned, as the real ones are. Hypothesis
chooses what happens; after every pass the invariants are checked, and at the end of every run that nothing is
stuck. ``SLUICE_MACHINE_RUNS`` sets the number of runs (200 by default; thousands for a long search).
"""

import copy
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sluice.evidence import LATENCY_BOUNDS_MS, EvidenceTotals, Hits, Paired, Requests
from sluice.model import ModelSpec, OnTimeout, seconds
from sluice_operator.rollout import (
    Command,
    Fleet,
    Group,
    Observation,
    Phase,
    Pod,
    PublishRouting,
    Release,
    RolloutState,
    ScaleCanary,
    SnapshotInfo,
    Verb,
    Verdict,
    WantSnapshots,
    step,
)
from sluice_operator.rollout.gates import measure
from sluice_operator.rollout.pods import canary_needed, missing_bytes, serving, weight_at
from sluice_operator.rollout.state import ROLLING, HeldBy, PausedBy, decided

RUNS = int(os.environ.get("SLUICE_MACHINE_RUNS", "200"))
MOST_BYTES = 128 * 1024
SETTLING_PASSES = 80
BIG = 100

GATES = [
    {"name": "fidelity", "source": "Snapshot", "metric": "indexRecall", "min": "0.98"},
    {"name": "recall", "source": "Prequential", "metric": "recall@20", "compareTo": "Stable", "margin": "0.02"},
    {"name": "errors", "source": "Online", "metric": "errorRate", "max": "0.01", "minSamples": 200},
    {"name": "hits", "source": "Online", "metric": "hitRate", "compareTo": "Stable", "margin": "0.02",
     "minSamples": 100, "onTimeout": "Proceed"},
    {"name": "watched", "source": "Online", "metric": "p99Milliseconds", "max": "50", "dryRun": True},
    {"name": "floor", "source": "Prequential", "metric": "mrr", "compareTo": "LastPromotion", "margin": "0.5",
     "onTimeout": "Rollback"},
]  # fmt: skip
STEPS: list[dict[str, Any]] = [
    {"shadow": {"events": 500}},
    {"gate": {"names": ["recall", "fidelity"], "timeout": "5m"}},
    {"gate": {"names": ["errors", "watched"], "timeout": "5m"}},
    {"gate": {"names": ["hits"], "timeout": "1m"}},
    {"gate": {"names": ["recall", "floor"], "timeout": "1m"}},
    {"gate": {"names": ["unknown"], "timeout": "1m"}},
    {"setWeight": 0},
    {"setWeight": 5},
    {"setWeight": 5},
    {"setWeight": 50},
    {"setWeight": 100},
    {"pause": {"duration": "60s"}},
    {"pause": {}},
]
USUAL = [STEPS[index] for index in (0, 1, 7, 11, 2, 9, 3)]


def requests(n: int, errors: int) -> Requests:
    latency = [0] * (len(LATENCY_BOUNDS_MS) + 1)
    latency[10] = n
    return Requests(n=n, errors=errors, latency=tuple(latency))


def paired(n: int, difference: float) -> Paired:
    return Paired(
        n=n,
        candidate=(0.1 + difference) * n,
        stable=0.1 * n,
        candidate_squared=n * (0.05 + abs(difference)),
        stable_squared=0.05 * n,
        candidate_stable=0.025 * n,
    )


class Machine(NamedTuple):
    """A stable or canary pod as it is; ``broken`` ones are not ready, ``refusing`` ones load nothing new."""

    loaded: frozenset[str] = frozenset()
    wanted: frozenset[str] = frozenset()
    broken: bool = False
    refusing: bool = False


class Fenced:
    """What actions act on: each refuses an epoch below the highest it has seen."""

    def __init__(self) -> None:
        self.routing: PublishRouting | None = None
        self.pods: dict[str, dict[str, Machine]] = {
            "stable": {f"s{n}": Machine() for n in range(3)},
            "canary": {},
        }
        self.wanted: dict[str, frozenset[str]] = {"stable": frozenset(), "canary": frozenset()}
        self.replicas = 0
        self.newest = {"routing": 0, "fleet": 0, "catalog": 0}

    def admit(self, place: str, epoch: int) -> bool:
        if epoch < self.newest[place]:
            return False
        self.newest[place] = epoch
        return True


class Thought(NamedTuple):
    """A pass that was begun: what a controller read, observed and decided."""

    version: int
    before: RolloutState
    seen: Observation
    now: float
    spec: ModelSpec
    after: RolloutState
    actions: tuple[Any, ...]


class World:
    """Everything but the decision."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.version, self.state = 0, RolloutState()
        self.decisions: dict[int, RolloutState] = {0: self.state}
        self.fenced = Fenced()
        self.headroom: int | None = None
        self.snapshots: list[SnapshotInfo] = []
        self.released: set[str] = set()
        self.cuts = self.asked = 0
        self.spec_hash, self.steps, self.gates = "h0", USUAL, GATES
        self.paused, self.on_failure, self.pin = False, "Rollback", None
        self.commands: list[Command] = []
        self.paired: dict[str, Paired] = {}
        self.requests: dict[tuple[str, int], Requests] = {}
        self.hits: dict[str, dict[str, Hits]] = {}
        self.at: float | None = None
        self.ailing = False

    @property
    def spec(self) -> ModelSpec:
        body = {
            "algorithm": {"type": "GMF"},
            "snapshots": {"historyLimit": 3} | ({"pin": self.pin} if self.pin else {}),
            "rollout": {
                "steps": self.steps, "gates": self.gates, "paused": self.paused, "onFailure": self.on_failure,
            },
        }  # fmt: skip
        return msgspec.convert(body, ModelSpec)

    def observe(self, state: RolloutState) -> Observation:
        rollout = state.rollout
        counted = self.requests.get((rollout, state.weight_epoch))
        evidence = EvidenceTotals(
            paired={"recall@20": self.paired[rollout], "mrr": self.paired[rollout]}
            if rollout in self.paired
            else {},
            requests={state.candidate or "": counted} if counted else {},
            hits=self.hits.get(rollout, {}),
            paired_at=self.at,
            requests_at=self.at,
            hits_at=self.at,
        )
        return Observation(
            spec_hash=self.spec_hash,
            snapshots=tuple(info for info in self.snapshots if info.id not in self.released),
            fleet=Fleet(stable=self._group("stable"), canary=self._group("canary")),
            evidence=evidence,
            evidence_rollout=rollout,
            evidence_weight_epoch=state.weight_epoch,
            commands=tuple(self.commands[-8:]),
        )

    def _group(self, name: str) -> Group:
        pods = tuple(
            Pod(
                name=each,
                ready=not pod.broken and pod.wanted <= pod.loaded,
                loaded=frozenset() if pod.broken else pod.loaded,
                wanted=pod.wanted,
                headroom_bytes=None if self.headroom is None else self.headroom - BIG * len(pod.loaded),
            )
            for each, pod in self.fenced.pods[name].items()
        )
        desired = self.fenced.replicas if name == "canary" else max(1, len(pods))
        return Group(desired=desired, pods=pods)

    def think(self) -> Thought:
        version, before, seen, spec = self.version, self.state, self.observe(self.state), self.spec
        after, actions = step(spec, before, seen, self.now)
        return Thought(version, before, seen, self.now, spec, after, actions)

    def write(self, thought: Thought) -> bool:
        """Write what was decided; False if somebody else wrote meanwhile."""
        if thought.after == thought.before:
            return True
        if thought.version != self.version:
            return False
        self.version, self.state = self.version + 1, thought.after
        self.decisions.setdefault(thought.after.epoch, thought.after)
        return True

    def act(self, thought: Thought, most: int = 99) -> None:
        """Carry out up to so many actions, stopping at the first that meets a higher epoch, as the shell does."""
        for action in thought.actions[:most]:
            if not self._carry_out(action, thought.after.epoch):
                return

    def _carry_out(self, action: Any, epoch: int) -> bool:
        it = self.fenced
        match action:
            case PublishRouting() if it.admit("routing", epoch):
                it.routing = action
                decision = self.decisions[epoch]
                fields = (action.rollout, action.stable, action.weight, action.weight_epoch)
                assert fields == (decision.rollout, decision.stable, decision.weight, decision.weight_epoch)
            case WantSnapshots(group=group, ids=ids) if it.admit("fleet", epoch):
                it.wanted[group] = frozenset(ids)
            case ScaleCanary(replicas=replicas) if it.admit("fleet", epoch):
                it.replicas = replicas
            case Release(ids=ids) if it.admit("catalog", epoch):
                needed = {self.state.stable, self.state.candidate, self.state.target, *self.state.promoted}
                assert not needed & set(ids), "released what is needed now"
                self.released |= set(ids)
            case _:
                return False
        return True

    def tick(self) -> None:
        """Let the pods do as they are told, if they can."""
        it = self.fenced
        names, there = [f"c{n}" for n in range(it.replicas)], {info.id for info in self.snapshots}
        it.pods["canary"] = {name: it.pods["canary"].get(name, Machine()) for name in names}
        for group, pods in it.pods.items():
            for name, pod in pods.items():
                told = pod._replace(wanted=it.wanted[group])
                can = not (pod.broken or pod.refusing or (self.ailing and group == "canary"))
                pods[name] = told._replace(loaded=(pod.loaded | there if can else pod.loaded) & told.wanted)

    def heal(self) -> None:
        """Make everything but people well: pods, memory, clock, evidence, the spec's pause."""
        self.headroom, self.paused = None, False
        for pods in self.fenced.pods.values():
            for name, pod in pods.items():
                pods[name] = pod._replace(broken=False, refusing=False)
        if not self.fenced.pods["stable"]:
            self.fenced.pods["stable"]["s0"] = Machine()

    def prove(self, good: bool = True) -> None:
        """Write decisive evidence of what rolls."""
        state, difference = self.state, 0.05 if good else -0.2
        if not state.rollout:
            return
        self.paired[state.rollout] = paired(50_000, difference)
        self.requests[state.rollout, state.weight_epoch] = requests(5_000, 0 if good else 500)
        arms = {state.candidate or "": 900 if good else 100, state.stable or "": 500}
        self.hits[state.rollout] = {
            name: Hits(users=5_000, answers=50_000, hits=10 * n, answers_squared=500_000.0, hits_squared=100.0 * n,
                       answers_hits=100.0 * n)
            for name, n in arms.items()
        }  # fmt: skip
        self.at = self.now


def check_pass(thought: Thought) -> None:
    """Assert what must hold of every pass, whoever made it."""
    _, before, seen, now, spec, after, actions = thought
    assert 0 <= after.weight <= 100
    assert after.epoch == before.epoch + decided(before, after)
    assert isinstance(actions[0], PublishRouting)
    assert (after.candidate is not None) == (after.phase in ROLLING)
    assert after.candidate is not None or (after.weight == 0 and actions[0].weight == 0)
    assert len(msgspec.json.encode(after)) < MOST_BYTES
    again, levels = step(spec, after, seen, now)
    assert (again, levels) == (after, actions), "the same observation and time decided again"
    _check_weight(thought)
    _check_steps(thought)
    _check_reasons(thought)
    _check_levels(thought)


def _notes(thought: Thought) -> list[str]:
    last = thought.before.notes[-1].number if thought.before.notes else 0
    return [note.reason for note in thought.after.notes if note.number > last]


def _check_weight(thought: Thought) -> None:
    """A weight is given by a step, to ready pods that loaded the candidate; it goes when they do."""
    _, before, seen, _, spec, after, _ = thought
    held = serving(seen.fleet.canary, after.candidate)
    if after.weight and after.weight_epoch != before.weight_epoch:
        assert after.weight_epoch == after.epoch
        assert after.weight in {each.set_weight for each in spec.rollout.steps}
        assert held >= canary_needed(seen.fleet.stable.desired, after.weight) >= 1
    if after.weight:
        assert held >= 1, "a weight without a pod that serves the candidate"
        assert after.stable is not None
    if after.weight != before.weight:
        assert after.weight_epoch != before.weight_epoch
    if {"Aborted", "RolloutDropped", "RollingBack", "Held"} & set(_notes(thought)):
        assert (after.weight, after.candidate) == (0, None) or after.phase == Phase.PROMOTING


def _check_steps(thought: Thought) -> None:
    """The step index goes past a gate only if it passed, was told to proceed, or a person said so."""
    _, before, seen, now, spec, after, _ = thought
    steps = spec.rollout.steps
    if before.rollout != after.rollout or after.stable is None or before.steps_hash != after.steps_hash:
        return
    by_hand = sum(
        command.verb == Verb.PROMOTE and command.id not in before.consumed for command in seen.commands
    )
    for index in range(before.step, after.step):
        gate = steps[index].gate
        if gate is None or _passed(thought, index):
            continue
        waited = now - (before.step_started_at or now)
        late = index == before.step and waited >= seconds(gate.timeout)
        named = [each for each in spec.rollout.gates if each.name in gate.names]
        proceeds = late and len(named) == len(gate.names) and any(
            each.on_timeout == OnTimeout.PROCEED for each in named
        )  # fmt: skip
        assert proceeds or by_hand > 0, f"gate step {index} was skipped: {_notes(thought)}"
        by_hand -= not proceeds


def _passed(thought: Thought, index: int) -> bool:
    """Return whether every gate of a step passes on what was observed, measured anew."""
    _, before, seen, now, spec, after, _ = thought
    given = weight_at(spec.rollout.steps, index) != before.weight
    state = msgspec.structs.replace(
        before, step=index, step_started_at=now, weight_epoch=after.epoch if given else before.weight_epoch
    )
    gates = {each.name: each for each in spec.rollout.gates}
    named = [gates.get(name) for name in spec.rollout.steps[index].gate.names]
    return all(
        each is not None and (each.dry_run or measure(each, state, seen, now).verdict == Verdict.PASS)
        for each in named
    )


def _check_reasons(thought: Thought) -> None:
    """Whatever stands still says truly why."""
    _, _, seen, _, spec, after, _ = thought
    assert (after.paused_by is not None) == (after.phase == Phase.PAUSED)
    assert (after.held_by is not None) == (after.phase in (Phase.HELD, Phase.ROLLING_BACK))
    assert (after.target is not None) == (after.phase == Phase.ROLLING_BACK)
    for wanted in (after.candidate, after.target):
        assert wanted is None or seen.snapshot(wanted) is not None, "waits for what is not there"
    if after.phase == Phase.BLOCKED:
        assert missing_bytes(after, seen) > 0
    if after.paused_by == PausedBy.SPEC:
        assert spec.rollout.paused
    if after.held_by == HeldBy.PIN:
        assert spec.snapshots.pin is not None


def _check_levels(thought: Thought) -> None:
    """What is needed is neither released nor unloaded, and a weight has its pods."""
    _, _, _, _, spec, after, (routing, stable, canary, scale, release) = thought
    needed = {after.stable, after.candidate, after.target, after.waiting, spec.snapshots.pin, *after.promoted}
    assert not needed & set(release.ids)
    assert after.stable in (None, *stable.ids[:1])
    assert len(stable.ids) <= 2, "a pod is told to hold three"
    assert (routing.stable, routing.weight) == (after.stable, after.weight)
    if after.weight:
        assert canary.ids == (after.candidate,)
        assert scale.replicas >= 1


class RolloutMachine(RuleBasedStateMachine):
    """What may happen, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.begun: Thought | None = None

    @initialize(healthy=st.sampled_from([0, 3, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]))
    def begin(self, healthy: int) -> None:
        """Start with nothing, with a first snapshot, or in the midst of the second one's rollout."""
        for number in range(healthy):
            if number in (0, 5):
                self._cut()
            self.all_goes_well(1, True)

    # --- controllers

    @rule(wait=st.sampled_from([0, 1, 3, 11, 61, 301, 1_000]), pods_act=st.booleans())
    def a_pass(self, wait: float, pods_act: bool) -> None:
        self.world.now += wait
        if pods_act:
            self.world.tick()
        thought = self.world.think()
        check_pass(thought)
        assert self.world.write(thought)
        self.world.act(thought)

    @rule(passes=st.integers(1, 4), evidence=st.booleans())
    def all_goes_well(self, passes: int, evidence: bool) -> None:
        for _ in range(passes):
            if evidence:
                self.world.prove()
            self.a_pass(3, True)

    @rule(most=st.integers(0, 4))
    def a_controller_dies_between_its_writes(self, most: int) -> None:
        """The status is written, then only so many actions; the next controller starts from there."""
        thought = self.world.think()
        check_pass(thought)
        assert self.world.write(thought)
        self.world.act(thought, most)

    @precondition(lambda self: self.begun is None)
    @rule()
    def another_controller_begins_a_pass(self) -> None:
        self.begun = self.world.think()

    @precondition(lambda self: self.begun is not None)
    @rule()
    def it_wakes_and_ends_it(self) -> None:
        """It was paused for as long as Hypothesis likes; what it writes or does must not count any more."""
        thought, self.begun = self.begun, None
        assert thought is not None
        newest = self.world.state
        routing, replicas = self.world.fenced.routing, self.world.fenced.replicas
        if not self.world.write(thought):
            return
        self.world.act(thought)
        if thought.after.epoch < newest.epoch and self.world.fenced.newest["routing"] >= newest.epoch:
            assert (self.world.fenced.routing, self.world.fenced.replicas) == (routing, replicas)

    # --- snapshots

    @rule(how=st.sampled_from(["sound", "sound", "sound", "of an older spec", "poor", "unverified"]))
    def a_snapshot_is_cut(self, how: str) -> None:
        self._cut(
            spec_hash="older" if how == "of an older spec" else self.world.spec_hash,
            metrics={"indexRecall": 0.5 if how == "poor" else 0.99},
            verified=how != "unverified",
        )

    def _cut(self, **fields: Any) -> None:
        self.world.cuts += 1
        made = {"spec_hash": self.world.spec_hash, "metrics": {"indexRecall": 0.99}, "bytes": BIG} | fields
        self.world.snapshots.append(SnapshotInfo(id=f"x{self.world.cuts}", **made))

    @precondition(lambda self: self.world.snapshots)
    @rule(which=st.integers(0, 9), how=st.sampled_from(["vanish", "unverified", "verified"]))
    def a_snapshot_changes(self, which: int, how: str) -> None:
        """``which`` counts from the newest."""
        at = -1 - which % len(self.world.snapshots)
        if how == "vanish":
            del self.world.snapshots[at]
        else:
            self.world.snapshots[at] = msgspec.structs.replace(
                self.world.snapshots[at], verified=how == "verified"
            )

    # --- evidence

    @rule(n=st.sampled_from([1, 400, 5_000]), difference=st.sampled_from([-0.3, -0.02, 0.0, 0.1]),
          share=st.sampled_from([0.0, 0.01, 0.2]), earlier=st.booleans())  # fmt: skip
    def evidence_arrives(self, n: int, difference: float, share: float, earlier: bool) -> None:
        """Also of requests that were dealt under a weight given earlier."""
        state = self.world.state
        key = state.rollout, state.weight_epoch - earlier
        known = self.world.paired.get(state.rollout, Paired()), self.world.requests.get(key, Requests())
        self.world.paired[state.rollout] = known[0] + paired(n, difference)
        self.world.requests[key] = known[1] + requests(n, int(n * share))
        self.world.at = self.world.now

    @rule(how=st.sampled_from(["good", "bad", "purged", "beat", "ahead", "far ahead"]))
    def evidence_changes(self, how: str) -> None:
        if how in ("good", "bad"):
            self.world.prove(how == "good")
        elif how == "purged":
            self.world.paired, self.world.requests, self.world.hits = {}, {}, {}
        else:
            self.world.at = self.world.now + {"beat": 0.0, "ahead": 30.0, "far ahead": 5_000.0}[how]

    # --- pods

    @rule(group=st.sampled_from(["stable", "canary"]), which=st.integers(0, 4),
          how=st.sampled_from(["broken", "refusing", "well", "emptied", "gone"]))  # fmt: skip
    def a_pod_changes(self, group: str, which: int, how: str) -> None:
        pods = self.world.fenced.pods[group]
        name = sorted(pods)[which % len(pods)] if pods else ""
        if how == "gone":
            pods.pop(name, None)
        elif name:
            pods[name] = {
                "broken": pods[name]._replace(broken=True),
                "refusing": pods[name]._replace(refusing=True),
                "well": pods[name]._replace(broken=False, refusing=False),
                "emptied": pods[name]._replace(loaded=frozenset()),
            }[how]

    @rule(count=st.sampled_from([0, 1, 2, 3, 6]), headroom=st.sampled_from([None, 0, BIG, 2 * BIG, 10 * BIG]))
    def machines_change(self, count: int, headroom: int | None) -> None:
        pods = self.world.fenced.pods["stable"]
        self.world.fenced.pods["stable"] = {f"s{n}": pods.get(f"s{n}", Machine()) for n in range(count)}
        self.world.headroom = headroom

    # --- people

    @rule(
        steps=st.just(USUAL) | st.lists(st.sampled_from(STEPS), max_size=6),
        gates=st.sampled_from([GATES, GATES[:3], []]),
    )
    def steps_and_gates_are_edited(self, steps: list[dict[str, Any]], gates: list[dict[str, Any]]) -> None:
        self.world.steps, self.world.gates = steps, gates

    @rule(what=st.sampled_from(["paused", "unpaused", "pause on failure", "roll back on failure", "algorithm", "unpin"])
          | st.integers(-2, 5))  # fmt: skip
    def the_spec_is_edited(self, what: str | int) -> None:
        """A number pins that snapshot, counted from the newest; negative ones do not exist (yet)."""
        if isinstance(what, int):
            self.world.pin = f"x{self.world.cuts - what}"
        elif what == "algorithm":
            self.world.spec_hash = "h1" if self.world.spec_hash == "h0" else "h0"
        elif what == "unpin":
            self.world.pin = None
        elif what in ("paused", "unpaused"):
            self.world.paused = what == "paused"
        else:
            self.world.on_failure = "Pause" if what == "pause on failure" else "Rollback"

    @rule(verb=st.sampled_from(list(Verb)), snapshot=st.none() | st.integers(-1, 5),
          step_seen=st.none() | st.none() | st.integers(0, 6))  # fmt: skip
    def a_verb_is_asked(self, verb: Verb, snapshot: int | None, step_seen: int | None) -> None:
        self.world.asked += 1
        named = f"x{self.world.cuts - snapshot}" if snapshot is not None else None
        self.world.commands.append(
            Command(id=f"v{self.world.asked}", verb=verb, snapshot=named, step=step_seen)
        )

    @precondition(lambda self: self.world.commands)
    @rule()
    def a_verb_is_repeated(self) -> None:
        self.world.commands.append(self.world.commands[-1])

    # --- clocks

    @rule(by=st.sampled_from([86_400 * 3, -1, -60, -7_200, -86_400]))
    def the_clock_jumps(self, by: float) -> None:
        self.world.now += by

    # --- what always holds

    @invariant()
    def users_are_safe(self) -> None:
        routing = self.world.fenced.routing
        if routing is not None and routing.weight:
            assert routing.stable is not None
            assert routing.candidate is not None

    def teardown(self) -> None:
        settle(copy.deepcopy(self.world), ailing=self.world.version % 3 == 0)


def settle(world: World, *, ailing: bool) -> None:
    """With a healthy world and decisive evidence every rollout ends: nothing is stuck.

    Also if no canary pod ever loads anything: then by its deadline.
    """
    world.heal()
    world.ailing = ailing
    for number in range(SETTLING_PASSES):
        world.now += 61
        world.tick()
        world.prove()
        thought = world.think()
        check_pass(thought)
        assert world.write(thought)
        world.act(thought)
        world.tick()
        _nudge(world, number)
    assert world.state.phase in (Phase.STABLE, Phase.HELD, Phase.WAITING), (
        world.state.phase,
        world.state.message,
    )
    assert world.fenced.replicas == 0
    assert world.fenced.routing is not None
    assert world.fenced.routing.weight == 0


def _nudge(world: World, number: int) -> None:
    """Do for the rollout what only a person may: end a pause, or a step that waits for promote."""
    state = world.state
    waits = state.phase == Phase.PROGRESSING and state.step < len(world.steps)
    at = world.steps[state.step] if waits else {}
    if at.get("pause") == {} or (state.phase == Phase.PAUSED and state.paused_by != PausedBy.SPEC):
        world.commands.append(Command(id=f"nudge{number}", verb=Verb.PROMOTE))


RolloutMachine.TestCase.settings = settings(
    max_examples=RUNS,
    stateful_step_count=40,
    deadline=None,
    derandomize="SLUICE_MACHINE_RUNS" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
TestRolloutMachine: Callable[..., Any] = RolloutMachine.TestCase
