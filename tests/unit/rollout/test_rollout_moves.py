"""One rollout from cut to commit, and every way it may stop: each test a move of the table, seen from outside."""

from typing import Any

import pytest

from sluice_operator.rollout import Phase, Pod, PublishRouting, Release, ScaleCanary
from sluice_operator.rollout.pods import canary_needed, weight_at
from sluice_operator.rollout.rules import REST_S


def test_first_snapshot_skips_the_steps(world: Any) -> None:
    world.go()
    assert (world.state.phase, world.routing) == (Phase.WAITING, (None, None, 0))
    world.cut("s1")
    world.go()
    assert (world.state.phase, world.wants("stable")) == (Phase.PROMOTING, ("s1",))
    assert world.routing == (None, None, 0)
    world.go(1)
    assert (world.state.phase, world.routing) == (Phase.STABLE, ("s1", None, 0))
    assert world.state.promoted == ("s1",)


def test_first_snapshot_does_not_skip_the_snapshot_gates(world: Any) -> None:
    world.cut("s1", metrics={"indexRecall": 0.9})
    world.go()
    assert world.state.phase == Phase.WAITING
    assert "fidelity" in world.state.message
    world.cut("s2")
    assert world.go().state.candidate == "s2"


def test_first_snapshot_outlasts_the_deadline_until_there_is_a_newer_one(world: Any) -> None:
    world.auto = False
    world.cut("s1")
    world.go().go(100_000)
    assert world.state.phase == Phase.PROMOTING
    world.cut("s2")
    world.go(1)
    assert (world.state.phase, world.state.aborted_reason("s1") is not None) == (Phase.WAITING, True)
    assert world.go(REST_S).state.candidate == "s2"


def test_the_whole_way(world: Any, paired: Any, requests_of: Any) -> None:
    world.rolling()
    assert (world.state.phase, world.state.step) == (Phase.PROGRESSING, 0)
    assert world.routing == ("s1", "s2", 0)
    assert (world.one(ScaleCanary).replicas, world.wants("canary")) == (0, ())
    world.paired = paired(1999, 0.005)
    assert world.go(2).state.step == 0
    world.paired = paired(5000, 0.005)
    world.go(2)  # shadow and recall gate at once; the weight waits for pods
    assert (world.state.phase, world.state.step, world.routing[2]) == (Phase.PREPARING, 2, 0)
    assert (world.one(ScaleCanary).replicas, world.wants("canary")) == (1, ("s2",))
    world.go(2)
    assert (world.state.phase, world.state.step, world.routing) == (Phase.PROGRESSING, 3, ("s1", "s2", 5))
    assert world.go(59).state.step == 3
    assert world.go(1).state.step == 4
    world.requests = requests_of(1000)
    world.go(2)
    assert (world.state.phase, world.state.weight, world.one(ScaleCanary).replicas) == (Phase.PREPARING, 5, 2)
    world.go(2)
    assert (world.state.step, world.state.weight) == (6, 50)
    assert world.go(10_000).state.step == 6
    world.ask("promote", "s2", 6)
    world.go(1)
    assert (world.state.phase, world.wants("stable"), world.routing[2]) == (Phase.PROMOTING, ("s1", "s2"), 50)
    world.go(1)
    assert (world.state.phase, world.routing) == (Phase.STABLE, ("s2", None, 0))
    assert (world.wants("stable"), world.wants("canary"), world.one(ScaleCanary).replicas) == (
        ("s2", "s1"),
        (),
        0,
    )
    assert world.state.last_promotion["recall@20"] == pytest.approx(0.105)


def test_no_requests_gate_passes_on_the_weight_before(world: Any, requests_of: Any, make_spec: Any) -> None:
    world.spec = make_spec(steps=[{"setWeight": 5}, {"setWeight": 10}, {"gate": {"names": ["errors"]}}])
    world.first().go(11)
    world.cut("s2")
    world.requests = requests_of(100_000)
    world.go(11).go(1)
    assert (world.state.step, world.state.weight) == (2, 10)  # one canary pod is enough for both weights
    assert world.go(1).state.phase == Phase.PROMOTING  # only now is evidence of weight 10 observed


def test_shadow_only_steps_need_no_canary_pods(world: Any, paired: Any, make_spec: Any) -> None:
    world.spec = make_spec(steps=[{"shadow": {"events": 10}}])
    world.first().go(11)
    world.cut("s2")
    world.go(11)
    world.paired = paired(10, 0.0)
    world.go(1)
    assert (world.state.phase, world.one(ScaleCanary).replicas) == (Phase.PROMOTING, 0)


def test_without_steps_a_candidate_is_promoted_at_once(world: Any, make_spec: Any) -> None:
    world.spec = make_spec(steps=[])
    world.first().go(11)
    world.cut("s2")
    assert world.go(1).state.phase == Phase.PROMOTING
    assert world.go(1).state.stable == "s2"


def test_a_weight_that_falls_needs_no_waiting(world: Any, make_spec: Any) -> None:
    world.spec = make_spec(steps=[{"setWeight": 50}, {"setWeight": 10}, {"setWeight": 0}, {"pause": {}}])
    world.first().go(11)
    world.cut("s2")
    world.go(1).go(1)
    assert (world.state.step, world.state.weight, world.one(ScaleCanary).replicas) == (3, 0, 0)


# --- which snapshot


def test_only_the_newest_waits(world: Any) -> None:
    world.rolling()
    world.cut("s3")
    world.cut("s4")
    assert world.go(1).state.waiting == "s4"
    world.ask("abort")
    world.go(1)
    assert (world.state.phase, world.state.candidate) == (Phase.STABLE, None)
    assert world.go(REST_S).state.candidate == "s4"


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("not verified", {"verified": False}),
        ("of an older spec", {"spec_hash": "h0"}),
        ("not faithful", {"metrics": {"indexRecall": 0.5}}),
        ("without the metric", {"metrics": {}}),
    ],
)
def test_who_is_no_candidate(world: Any, name: str, fields: Any) -> None:
    world.first()
    world.cut("s2", **fields)
    assert world.go(20).state.phase == Phase.STABLE, name
    assert "s2" in world.state.message


def test_an_aborted_snapshot_is_not_tried_again_nor_what_came_before_it(world: Any) -> None:
    world.rolling()
    world.snapshots.insert(
        1, world.snapshots[-1].__class__(id="s1b", spec_hash="h1", metrics={"indexRecall": 1})
    )
    world.ask("abort")
    for _ in range(5):
        assert world.go(60).state.phase == Phase.STABLE
    world.ask("retry", "s2")
    assert world.go(1).state.candidate == "s2"


def test_a_new_spec_drops_the_candidate_without_rejecting_it(world: Any) -> None:
    world.rolling(at=3)
    world.spec_hash = "h2"
    world.go(1)
    assert (world.state.phase, world.routing, world.state.aborted) == (Phase.STABLE, ("s1", None, 0), ())
    world.cut("s3")
    assert world.go(REST_S).state.candidate == "s3"


def test_a_candidate_that_left_the_catalog_is_dropped(world: Any) -> None:
    world.rolling()
    world.snapshots.pop()
    assert world.go(1).state.phase == Phase.STABLE


def test_edited_steps_begin_anew_at_weight_zero(world: Any, make_spec: Any) -> None:
    world.rolling(at=3)
    world.spec = make_spec(steps=[{"pause": {}}, {"setWeight": 5}])
    world.go(1)
    assert (world.state.phase, world.state.step, world.state.weight) == (Phase.PROGRESSING, 0, 0)
    assert world.state.candidate == "s2"


def test_an_equal_weight_given_anew_is_told_apart_from_the_earlier_one(world: Any, make_spec: Any) -> None:
    world.rolling(at=3)
    before = world.state
    world.spec = make_spec(steps=[{"setWeight": 5}, {"pause": {}}])
    world.go(1)
    assert (world.state.weight, before.weight) == (5, 5)
    assert world.state.weight_epoch == world.state.epoch > before.weight_epoch
    assert world.one(PublishRouting).weight_epoch == world.state.weight_epoch


def test_a_weight_keeps_its_epoch_while_other_things_are_decided(world: Any) -> None:
    world.rolling(at=3)
    given = world.state.weight_epoch
    world.go(61)
    world.ask("pause")
    world.go(1)
    assert world.state.epoch > given == world.state.weight_epoch
    world.ask("abort")
    assert world.go(1).state.weight_epoch == 0


# --- pods


def test_no_weight_before_the_candidate_is_loaded(world: Any, paired: Any) -> None:
    world.rolling()
    world.auto, world.paired = False, paired(5000, 0.01)
    for count, loaded, ready in ((0, set(), True), (1, set(), True), (1, {"s1"}, True), (1, {"s2"}, False)):
        world.canary(count, loaded, ready)
        assert world.go(5).state.weight == 0
    world.canary(1, {"s2"})
    assert world.go(5).state.weight == 5


def test_pods_that_are_late_abort(world: Any, paired: Any) -> None:
    world.rolling()
    world.auto, world.paired = False, paired(5000, 0.01)
    world.go(5)
    world.canary_pods = [Pod(name="c-0", ready=True, refused={"s2": "checksum of items.faiss differs"})]
    assert world.go(899).state.phase == Phase.PREPARING
    world.go(1)
    assert (world.state.phase, world.reasons()) == (Phase.STABLE, ["Aborted"])
    assert "checksum" in (world.state.aborted_reason("s2") or "")


def test_a_lost_canary_takes_the_weight_away_and_back(world: Any) -> None:
    world.rolling(at=4)
    world.auto, pods = False, world.canary_pods
    world.canary_pods = []
    world.go(1)
    assert (world.state.phase, world.state.weight, world.reasons()) == (Phase.PREPARING, 0, ["CanaryLost"])
    world.canary_pods = pods
    world.go(1)
    assert (world.state.phase, world.state.weight, world.state.step) == (Phase.PROGRESSING, 5, 4)


def test_a_lost_canary_that_stays_away_aborts(world: Any) -> None:
    world.rolling(at=4)
    world.auto, world.canary_pods = False, []
    assert world.go(1).go(899).state.phase == Phase.PREPARING
    assert world.go(1).state.phase == Phase.STABLE


def test_a_growing_stable_group_does_not_take_the_weight(world: Any) -> None:
    world.rolling(at=6)
    assert (world.state.weight, len(world.canary_pods)) == (50, 2)
    world.auto, world.stable_desired = False, 10
    world.go(1)
    assert (world.state.weight, world.one(ScaleCanary).replicas) == (50, 5)


def test_one_of_two_canary_pods_lost_takes_the_weight(world: Any) -> None:
    world.rolling(at=6)
    world.auto, world.canary_pods = False, world.canary_pods[:1]
    assert world.go(1).state.weight == 0


def test_no_room_blocks_before_the_first_weight(world: Any, paired: Any) -> None:
    world.rolling()
    world.headroom, world.paired = 30, paired(5000, 0.01)
    world.go(1)
    assert (world.state.phase, world.state.weight, world.one(ScaleCanary).replicas) == (Phase.BLOCKED, 0, 0)
    assert "70 bytes" in world.state.message
    assert world.go(100_000).state.phase == Phase.BLOCKED  # no deadline: memory does not come by waiting
    world.headroom = 100
    assert world.go(1).state.phase == Phase.PREPARING


def test_what_a_promotion_unloads_counts_as_room(world: Any, paired: Any) -> None:
    world.rolling()
    world.headroom, world.paired, world.auto = 0, paired(5000, 0.01), False
    world.cut("s0", spec_hash="h0")
    world.stable_loaded = {name: {"s1", "s0"} for name in world.stable_pods}
    assert world.go(1).state.phase == Phase.PREPARING


def test_promotion_waits_for_every_stable_pod_and_may_still_abort(world: Any, make_spec: Any) -> None:
    world.spec = make_spec(steps=[])
    world.first().go(11)
    world.cut("s2")
    world.auto = False
    world.go(1)
    for loaded in ({}, {"s-0": {"s1", "s2"}}, {f"s-{i}": {"s1", "s2"} for i in range(3)}):
        world.stable_loaded = loaded
        assert world.go(1).state.phase == Phase.PROMOTING
    world.ask("abort", "s2")
    world.go(1)
    assert (world.state.phase, world.routing, world.wants("stable")) == (
        Phase.STABLE,
        ("s1", None, 0),
        ("s1",),
    )


def test_promotion_past_the_deadline_aborts(world: Any, make_spec: Any) -> None:
    world.spec = make_spec(steps=[])
    world.first().go(11)
    world.cut("s2")
    world.auto = False
    assert world.go(1).go(899).state.phase == Phase.PROMOTING
    assert world.go(1).state.phase == Phase.STABLE
    assert world.state.aborted_reason("s2") is not None


def test_promotion_goes_on_without_weight_when_the_canary_is_lost(world: Any) -> None:
    world.rolling(at=6)
    world.auto = False
    world.ask("promote")
    world.go(1)
    world.canary_pods = []
    world.go(1)
    assert (world.state.phase, world.state.weight) == (Phase.PROMOTING, 0)
    world.stable_loaded = {name: {"s1", "s2"} for name in world.stable_pods}
    assert world.go(1).state.stable == "s2"


# --- gates


def test_a_failed_gate_rolls_back(world: Any, requests_of: Any) -> None:
    world.rolling(at=4)
    world.requests = requests_of(500, errors=100)
    world.go(1)
    assert (world.state.phase, world.routing, world.reasons()) == (Phase.STABLE, ("s1", None, 0), ["Aborted"])
    assert "errors" in (world.state.aborted_reason("s2") or "")


def test_a_failed_gate_acts_between_gates_too(world: Any, paired: Any) -> None:
    world.rolling()
    world.paired = paired(1500, -0.09)
    assert world.go(1).state.phase == Phase.STABLE  # still in the shadow step


def test_a_failed_gate_acts_while_paused(world: Any, requests_of: Any) -> None:
    world.rolling(at=4)
    world.ask("pause")
    assert world.go(1).state.phase == Phase.PAUSED
    world.requests = requests_of(500, errors=100)
    assert world.go(1).state.phase == Phase.STABLE


def test_on_failure_pause_may_be_overruled_to_the_end(world: Any, make_spec: Any, paired: Any) -> None:
    world.spec = make_spec(
        onFailure="Pause", steps=[{"shadow": {"events": 2000}}, {"gate": {"names": ["recall"]}}]
    )
    world.first().go(11)
    world.cut("s2")
    world.paired = paired(1500, -0.09)
    world.go(11).go(1)  # the first pass names the rollout, the second sees its evidence
    assert (world.state.phase, world.state.step, world.reasons()[-1]) == (Phase.PAUSED, 0, "Paused")
    assert world.go(60).state.phase == Phase.PAUSED
    world.ask("promote", "s2", 0)
    assert (world.go(1).state.phase, world.state.step) == (Phase.PAUSED, 1)
    world.ask("promote", "s2", 1)
    assert world.go(1).state.phase == Phase.PROMOTING
    assert world.go(1).state.stable == "s2"


@pytest.mark.parametrize(
    ("on_timeout", "phase", "step"),
    [("Pause", Phase.PAUSED, 0), ("Rollback", Phase.STABLE, 0), ("Proceed", Phase.PROGRESSING, 1)],
)
@pytest.mark.parametrize("stale", [False, True])
def test_timeout(world: Any, make_spec: Any, on_timeout: str, phase: Phase, step: int, stale: bool) -> None:
    gates = [{"name": "r", "source": "Prequential", "metric": "m", "min": "0.1", "onTimeout": on_timeout}]
    world.spec = make_spec(steps=[{"gate": {"names": ["r"], "timeout": "2m"}}, {"pause": {}}], gates=gates)
    world.first().go(11)
    world.cut("s2")
    world.stale = stale
    world.go(11)
    assert (world.state.phase, world.state.step) == (Phase.PROGRESSING, 0)
    assert world.go(119).state.step == 0
    assert world.state.measurements[0].verdict == ("Error" if stale else "Inconclusive")
    world.go(1)
    assert (world.state.phase, world.state.step) == (phase, step)


def test_a_dry_run_gate_only_tells(world: Any, make_spec: Any, paired: Any) -> None:
    dry = {"name": "r", "source": "Prequential", "metric": "recall@20", "min": "0.9", "dryRun": True}
    world.spec = make_spec(steps=[{"gate": {"names": ["r"]}}, {"pause": {}}], gates=[dry])
    world.first().go(11)
    world.cut("s2")
    world.paired = paired(5000, 0.0)
    world.go(11).go(1)
    assert (world.state.step, world.state.measurements[0].verdict) == (1, "Fail")


# --- spec


def test_a_paused_spec_pauses_and_goes_on(world: Any, make_spec: Any) -> None:
    world.rolling(at=4)
    world.spec = make_spec(paused=True)
    world.go(1)
    assert (world.state.phase, world.state.weight) == (Phase.PAUSED, 5)
    world.ask("resume")
    world.ask("promote")
    assert (world.go(1).state.phase, world.reasons()) == (Phase.PAUSED, ["CommandIgnored"] * 2)
    world.spec = make_spec()
    assert (world.go(1).state.phase, world.state.step) == (Phase.PROGRESSING, 4)


def test_a_paused_spec_starts_nothing(world: Any, make_spec: Any) -> None:
    world.first()
    world.spec = make_spec(paused=True)
    world.cut("s2")
    assert world.go(100).state.phase == Phase.STABLE
    assert "paused" in world.state.message


def test_a_pin_goes_back_and_holds_until_it_is_removed(world: Any, make_spec: Any) -> None:
    world.spec = make_spec(steps=[])
    world.first()
    world.cut("s2")
    world.go(11).go(11)
    assert world.state.stable == "s2"
    world.spec = make_spec(steps=[], pin="s1")
    world.go(1)
    assert (world.state.phase, world.routing) == (Phase.HELD, ("s1", None, 0))  # still loaded: one write
    world.cut("s3")
    world.ask("resume")
    world.ask("rollback", "s2")
    assert (world.go(99).state.phase, world.reasons()) == (Phase.HELD, ["CommandIgnored"] * 2)
    world.spec = make_spec(steps=[])
    assert world.go(1).state.phase == Phase.STABLE
    assert world.go(REST_S).state.candidate == "s3"
    assert world.state.aborted == ()


def test_a_pin_on_stable_drops_the_candidate(world: Any, make_spec: Any) -> None:
    world.rolling(at=4)
    world.spec = make_spec(pin="s1")
    world.go(1)
    assert (world.state.phase, world.routing, world.state.aborted) == (Phase.HELD, ("s1", None, 0), ())


def test_a_pin_that_cannot_be_served_stays_on_stable(world: Any, make_spec: Any) -> None:
    world.rolling(at=4)
    world.spec = make_spec(pin="s9")
    world.go(1)
    assert (world.state.phase, world.state.stable) == (Phase.HELD, "s1")
    world.cut("s9", metrics={"indexRecall": 0.2})
    assert world.go(1).state.phase == Phase.HELD  # never past the Snapshot gates
    world.cut("s10")
    world.spec = make_spec(pin="s10")
    world.go(1)
    assert (world.state.phase, world.wants("stable")) == (Phase.ROLLING_BACK, ("s1", "s10"))
    assert world.go(1).state.stable == "s10"


def test_a_pin_may_name_the_first_snapshot(world: Any, make_spec: Any) -> None:
    world.spec = make_spec(pin="s1")
    world.cut("s1")
    world.cut("s2")
    assert world.go().state.phase == Phase.ROLLING_BACK
    assert (world.go(1).state.phase, world.state.stable) == (Phase.HELD, "s1")


def test_a_pin_that_changes_on_the_way(world: Any, make_spec: Any) -> None:
    world.rolling()
    world.auto = False
    world.cut("s3")
    world.spec = make_spec(pin="s3")
    assert world.go(1).state.target == "s3"
    world.spec = make_spec(pin="s2")
    assert (world.go(1).state.target, world.state.phase) == ("s2", Phase.ROLLING_BACK)
    world.spec = make_spec(pin="s1")
    assert (world.go(1).state.phase, world.state.target) == (Phase.HELD, None)


def test_a_target_that_disappears_leaves_stable(world: Any, make_spec: Any) -> None:
    world.rolling()
    world.auto = False
    world.cut("s3")
    world.spec = make_spec(pin="s3")
    world.go(1)
    world.snapshots.pop()
    assert (world.go(1).state.phase, world.state.stable) == (Phase.HELD, "s1")


# --- what is kept


def test_release_spares_what_is_needed(world: Any, make_spec: Any) -> None:
    world.spec = make_spec(steps=[])
    for i in range(1, 8):
        world.cut(f"s{i}")
        world.go(11).go(1)
    assert world.state.promoted == ("s7", "s6", "s5", "s4")
    assert world.one(Release).ids == ("s1", "s2", "s3")
    world.spec = make_spec(steps=[], pin="s2")
    assert world.go(1).one(Release).ids == ("s1", "s3")


# --- arithmetic


@pytest.mark.parametrize(
    ("stable", "weight", "pods"),
    [(10, 0, 0), (10, 1, 1), (10, 10, 1), (10, 11, 2), (3, 50, 2), (1, 5, 1), (4, 100, 4), (0, 5, 1)],
)
def test_canary_needed(stable: int, weight: int, pods: int) -> None:
    assert canary_needed(stable, weight) == pods


def test_weight_at_is_the_last_one_given(make_spec: Any) -> None:
    steps = make_spec(steps=[{"pause": {}}, {"setWeight": 5}, {"pause": {}}, {"setWeight": 50}]).rollout.steps
    assert [weight_at(steps, step) for step in range(6)] == [0, 5, 5, 50, 50, 50]


# --- clocks


def test_a_clock_that_was_set_back_starts_timers_anew_instead_of_stopping_them(world: Any) -> None:
    world.now = 1e6
    world.rolling(at=3)
    world.go(-86_400)
    assert world.state.step_started_at == world.now
    assert world.go(59).state.step == 3
    assert world.go(2).state.step == 4


def test_after_a_rollout_ended_a_clock_set_back_delays_the_next_by_the_rest_only(world: Any) -> None:
    world.now = 1e6
    world.first()
    world.cut("s2")
    assert world.go(-7_200).state.phase == Phase.STABLE
    assert world.go(REST_S).state.phase == Phase.PROGRESSING


def test_a_rollback_is_done_although_no_pod_can_hold_stable_any_more(world: Any, make_spec: Any) -> None:
    world.spec = make_spec(steps=[])
    world.first().cut("s2")
    world.until(Phase.PROMOTING)
    world.until(Phase.STABLE)
    world.auto = False
    world.stable_loaded = {name: {"s1"} for name in world.stable_pods}
    world.stable_ready = False
    world.ask("rollback")
    assert world.go(1).go(1).state.phase == Phase.HELD
    assert world.state.stable == "s1"
