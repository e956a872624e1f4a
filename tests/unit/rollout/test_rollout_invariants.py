"""Whatever is observed, in whatever order: what must hold holds. ``World.go`` checks the rest in every pass."""

from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from sluice_operator.rollout import Phase, Pod, Release, ScaleCanary, Verb
from sluice_operator.rollout.state import ROLLING

NAMES = [f"s{i}" for i in range(1, 9)]
snapshots = st.sampled_from(NAMES)
sets = st.sets(snapshots, max_size=4)
pods = st.lists(
    st.builds(
        lambda ready, loaded, room: Pod(name="p", ready=ready, loaded=frozenset(loaded), headroom_bytes=room),
        st.booleans(),
        sets,
        st.sampled_from([None, 0, 50, 1000]),
    ),
    max_size=3,
)
OPERATIONS = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([0, 1, 11, 61, 1000, 100_000])),
    st.tuples(st.just("cut"), st.sampled_from([0.9, 0.99]), st.booleans()),
    st.tuples(
        st.just("ask"), st.sampled_from(list(Verb)), st.none() | snapshots, st.none() | st.integers(0, 7)
    ),
    st.tuples(st.just("paired"), st.integers(0, 5000), st.sampled_from([-0.1, -0.02, 0.0, 0.1])),
    st.tuples(st.just("requests"), st.integers(0, 3000), st.sampled_from([0.0, 0.01, 0.5])),
    st.tuples(st.just("canary"), pods),
    st.tuples(st.just("stable"), pods, st.integers(0, 5)),
    st.tuples(st.just("auto"), st.booleans()),
    st.tuples(st.just("stale"), st.booleans()),
    st.tuples(st.just("spec"), st.sampled_from(["plain", "pause", "paused", "short", "none", "h1", "h2"])),
    st.tuples(st.just("pin"), st.none() | snapshots),
    st.tuples(st.just("lose"), st.integers(0, 5)),
)


class Play:
    """Applies random operations to a world."""

    def __init__(self, world: Any, make_spec: Any, paired: Any, requests_of: Any) -> None:
        self.world, self.make_spec, self.paired, self.requests_of = world, make_spec, paired, requests_of
        self.options: dict[str, Any] = {}
        self.pin: str | None = None

    def apply(self, operation: Any) -> None:
        name, *values = operation
        getattr(self, name)(*values)

    def wait(self, seconds: float) -> None:
        self.world.go(seconds)

    def cut(self, fidelity: float, verified: bool) -> None:
        missing = [name for name in NAMES if name not in {info.id for info in self.world.snapshots}]
        if missing:
            self.world.cut(missing[0], metrics={"indexRecall": fidelity}, verified=verified)

    def ask(self, verb: Verb, snapshot: str | None, step: int | None) -> None:
        self.world.ask(verb, snapshot, step)

    def paired_(self, n: int, difference: float) -> None:
        self.world.paired = self.paired(n, difference) if n else None

    def requests(self, n: int, share: float) -> None:
        self.world.requests = self.requests_of(n, errors=int(n * share))

    def canary(self, found: list[Pod]) -> None:
        self.world.canary_pods = found

    def stable(self, found: list[Pod], desired: int) -> None:
        self.world.stable_pods = [f"p{i}" for i in range(len(found))]
        self.world.stable_loaded = {f"p{i}": set(pod.loaded) for i, pod in enumerate(found)}
        self.world.headroom = found[0].headroom_bytes if found else None
        self.world.stable_desired = desired

    def auto(self, on: bool) -> None:
        self.world.auto = on

    def stale(self, on: bool) -> None:
        self.world.stale = on

    def spec(self, kind: str) -> None:
        if kind in ("h1", "h2"):
            self.world.spec_hash = kind
            return
        options = {
            "plain": {},
            "pause": {"onFailure": "Pause"},
            "paused": {"paused": True},
            "short": {"steps": [{"setWeight": 50}, {"setWeight": 100}]},
            "none": {"steps": []},
        }
        self.options = options[kind]
        self._apply_spec()

    def pin_(self, snapshot: str | None) -> None:
        self.pin = snapshot
        self._apply_spec()

    def _apply_spec(self) -> None:
        self.world.spec = self.make_spec(pin=self.pin, **self.options)

    def lose(self, index: int) -> None:
        if index < len(self.world.snapshots):
            del self.world.snapshots[index]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=st.lists(OPERATIONS, max_size=40))
def test_invariants(
    operations: list[Any], make_world: Any, make_spec: Any, paired: Any, requests_of: Any
) -> None:
    world = make_world()
    play = Play(world, make_spec, paired, requests_of)
    for operation in [("cut", 0.99, True), ("wait", 11), ("wait", 11), *operations]:
        play.apply((operation[0] + "_" * (operation[0] in ("paired", "pin")), *operation[1:]))
        world.go()
        holds(world)


def holds(world: Any) -> None:
    state = world.state
    stable, candidate, weight = world.routing
    assert (state.candidate is not None) == (state.phase in ROLLING)
    assert (state.target is not None) == (state.phase == Phase.ROLLING_BACK)
    assert (state.held_by is not None) == (state.phase in (Phase.HELD, Phase.ROLLING_BACK))
    assert (state.paused_by is not None) == (state.phase == Phase.PAUSED)
    assert (state.rollout != "") == (state.phase in ROLLING)
    assert (stable is None) <= (weight == 0)
    assert (candidate is None) <= (weight == 0)
    assert stable is None or stable not in {entry.id for entry in state.aborted} - {state.stable}
    assert state.phase in ROLLING or world.one(ScaleCanary).replicas == 0
    if weight:
        assert world.one(ScaleCanary).replicas >= 1
        assert candidate in world.wants("canary")
    released = {name for each in world.actions if isinstance(each, Release) for name in each.ids}
    kept = {
        state.stable,
        state.candidate,
        state.target,
        state.waiting,
        world.spec.snapshots.pin,
        *state.promoted,
    }
    assert not released & kept
    assert state.candidate not in {entry.id for entry in state.aborted}
