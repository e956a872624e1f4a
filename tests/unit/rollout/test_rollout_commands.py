"""Verbs: what each does in every phase, and that a stale, repeated or impossible one changes nothing."""

from typing import Any

import msgspec
import pytest

from sluice_operator.rollout import TABLE, Event, IllegalMove, Phase, RolloutState, Verb
from sluice_operator.rollout.state import CONSUMED_KEPT, NOTES_KEPT
from sluice_operator.rollout.table import check


def reach(world: Any, phase: Phase, make_spec: Any, paired: Any) -> Any:
    """Bring a world to a phase and leave its pods as they are."""
    if phase == Phase.WAITING:
        world.go()
    elif phase == Phase.STABLE:
        world.first()
    elif phase == Phase.PROGRESSING:
        world.rolling()
    elif phase == Phase.BLOCKED:
        world.rolling()
        world.headroom, world.paired = 0, paired(5000, 0.0)
        world.go(1)
    elif phase == Phase.PREPARING:
        world.rolling()
        world.auto, world.paired = False, paired(5000, 0.0)
        world.go(1)
    elif phase == Phase.PAUSED:
        world.rolling(at=4)
        world.ask("pause", name="earlier")
        world.go(1)
    elif phase == Phase.PROMOTING:
        world.rolling(at=6)
        world.auto = False
        world.ask("promote", name="earlier")
        world.go(1)
    else:
        world.spec = make_spec(steps=[])
        world.first().cut("s2")
        world.go(11).go(11)
        world.auto = phase == Phase.HELD
        world.stable_loaded = {name: {"s2"} for name in world.stable_pods}
        world.ask("rollback", name="earlier")
        world.go(1).go(1)
    assert world.state.phase == phase
    world.auto = False
    return world


LEGAL = {
    (phase, verb): TABLE[phase][Event(verb)]
    for phase in Phase
    for verb in Verb
    if Event(verb) in TABLE[phase]
}
NOTHING_BEFORE = {(phase, Verb.ROLLBACK) for phase in Phase}
"""The worlds here have promoted one snapshot at most, so there is nothing to roll back to (yet)."""

NOTHING_ABORTED = {(phase, Verb.RETRY) for phase in Phase} - {(Phase.HELD, Verb.RETRY)}


@pytest.mark.parametrize("verb", list(Verb))
@pytest.mark.parametrize("phase", list(Phase))
def test_every_verb_in_every_phase(world: Any, phase: Phase, verb: Verb, make_spec: Any, paired: Any) -> None:
    """A verb moves only where the table says so; otherwise nothing but the consumed id changes."""
    reach(world, phase, make_spec, paired)
    before = world.state
    world.ask(verb, name="new")
    world.go(0)
    assert "new" in world.state.consumed
    ignored = "CommandIgnored" in world.reasons()
    assert ignored == ((phase, verb) not in LEGAL or (phase, verb) in NOTHING_BEFORE | NOTHING_ABORTED)
    if ignored:
        told = {"consumed": world.state.consumed, "notes": world.state.notes}
        assert world.state == msgspec.structs.replace(before, **told)
    else:
        assert verb == Verb.RETRY or world.state.epoch == before.epoch + 1


@pytest.mark.parametrize("verb", [Verb.PROMOTE, Verb.ABORT, Verb.PAUSE])
@pytest.mark.parametrize("meant", [{"snapshot": "s0"}, {"step": 3}, {"snapshot": "s2", "step": 9}])
def test_a_stale_command_does_nothing_now_or_later(world: Any, verb: Verb, meant: Any) -> None:
    world.rolling()
    before = world.state
    world.ask(verb, name="stale", **meant)
    world.go(1)
    assert (world.state.epoch, world.state.phase, world.state.candidate) == (before.epoch, before.phase, "s2")
    assert world.reasons() == ["CommandIgnored"]
    assert world.go(1).reasons() == []


def test_a_repeated_command_acts_once(world: Any) -> None:
    world.rolling()
    world.ask("pause", name="once")
    assert world.go(1).state.phase == Phase.PAUSED
    world.ask("resume")
    assert world.go(1).state.phase == Phase.PROGRESSING
    for _ in range(5):
        assert world.go(1).state.phase == Phase.PROGRESSING


def test_a_command_that_stays_visible_is_never_forgotten(world: Any) -> None:
    world.rolling()
    world.ask("pause", name="sticky")
    world.go(1)
    sticky = world.commands[:]
    for i in range(3 * CONSUMED_KEPT):
        world.commands = sticky[:]
        world.ask("promote" if i else "resume", snapshot=None if i == 0 else "nobody", name=f"n{i}")
        world.go(1)
    assert world.state.phase == Phase.PROGRESSING
    assert len(world.state.consumed) <= CONSUMED_KEPT + 1


def test_promote_skips_one_step_at_a_time_but_no_waiting_for_pods(world: Any) -> None:
    world.rolling()
    for expected in (1, 2):
        world.ask("promote", "s2", world.state.step)
        assert world.go(1).state.step == expected
    assert world.state.phase == Phase.PREPARING
    world.auto, world.canary_pods = False, []
    world.ask("promote")
    assert (world.go(1).state.step, world.reasons()) == (2, ["CommandIgnored"])


def test_pause_keeps_step_and_weight_and_restarts_the_clock(world: Any) -> None:
    world.rolling(at=4)
    world.ask("pause")
    world.go(1).go(10_000)
    assert (world.state.phase, world.state.step, world.state.weight) == (Phase.PAUSED, 4, 5)
    world.requests = None
    world.ask("resume")
    world.go(1)
    assert (world.state.phase, world.state.step) == (Phase.PROGRESSING, 4)


def test_a_pause_never_raises_the_weight(world: Any) -> None:
    world.rolling(at=4)
    world.ask("pause")
    world.go(1)
    world.auto, pods = False, world.canary_pods
    world.canary_pods = []
    assert (world.go(1).state.weight, world.state.phase) == (0, Phase.PAUSED)
    world.canary_pods = pods
    assert world.go(1).state.weight == 0
    world.ask("resume")
    assert world.go(1).state.weight == 5


def test_rollback_is_one_write_rejects_and_holds_until_resume(world: Any, make_spec: Any) -> None:
    world.spec = make_spec(steps=[])
    world.first().cut("s2")
    world.go(11).go(1)
    epoch = world.state.epoch
    world.ask("rollback")
    world.go(1)
    assert (world.state.phase, world.routing, world.state.epoch) == (Phase.HELD, ("s1", None, 0), epoch + 1)
    assert world.state.aborted_reason("s2") is not None
    world.cut("s3")
    assert world.go(10_000).state.phase == Phase.HELD
    world.ask("resume")
    assert world.go(1).state.phase == Phase.STABLE
    assert world.go(10).state.candidate == "s3"


def test_a_second_rollback_goes_further_back(world: Any, make_spec: Any) -> None:
    world.spec = make_spec(steps=[])
    for name in ("s1", "s2", "s3"):
        world.cut(name)
        world.go(11).go(1)
    world.ask("rollback")
    assert world.go(1).state.stable == "s2"
    world.ask("rollback")
    world.go(1).go(1)
    assert (world.state.stable, world.state.phase) == ("s1", Phase.HELD)
    world.ask("rollback")
    assert world.go(1).reasons() == ["CommandIgnored"]


def test_rollback_while_rolling_takes_the_candidate_off_first(world: Any, make_spec: Any) -> None:
    world.spec = make_spec(steps=[])
    world.first().cut("s2")
    world.go(11).go(1).go(11)
    world.spec = make_spec()
    world.cut("s3")
    world.until(Phase.PROGRESSING)
    world.ask("rollback")
    world.go(1)
    assert (world.state.stable, world.routing) == ("s1", ("s1", None, 0))
    assert {entry.id for entry in world.state.aborted} == {"s2", "s3"}


def test_a_broken_pod_does_not_stop_a_rollback(world: Any, make_spec: Any) -> None:
    world.spec = make_spec(steps=[])
    world.first().cut("s2")
    world.go(11).go(1).go(1)
    world.auto, world.stable_desired = False, 9
    world.ask("rollback")
    assert world.go(1).state.stable == "s1"


@pytest.mark.parametrize(
    ("name", "fields"),
    [("unknown", None), ("not verified", {"verified": False}), ("unfaithful", {"metrics": {}})],
)
def test_rollback_never_skips_the_snapshot_gates(world: Any, name: str, fields: Any) -> None:
    world.first()
    if fields is not None:
        world.cut("s0", **fields)
    world.ask("rollback", "s0")
    assert (world.go(1).state.stable, world.reasons()) == ("s1", ["CommandIgnored"]), name


def test_retry_of_what_was_not_aborted_is_ignored(world: Any) -> None:
    world.first()
    world.ask("retry")
    world.ask("retry", "s1")
    assert world.go(1).reasons() == ["CommandIgnored"] * 2


def test_every_phase_has_a_row_and_every_event_a_place() -> None:
    assert set(TABLE) == set(Phase)
    assert {event for row in TABLE.values() for event in row} == set(Event)


@pytest.mark.parametrize("phase", list(Phase))
def test_moves_beside_the_table_raise(phase: Phase) -> None:
    before = RolloutState(phase=phase)
    for event in Event:
        for target in Phase:
            after = RolloutState(phase=target)
            if target in TABLE[phase].get(event, ()):
                assert check(event, before, after) is after
            else:
                with pytest.raises(IllegalMove):
                    check(event, before, after)


def aborted(world: Any, *names: str) -> None:
    """Have each snapshot cut, rolled and aborted in turn."""
    for name in names:
        world.cut(name)
        world.until(Phase.PROGRESSING)
        world.ask("abort")
        world.go(3)


def test_an_aborted_snapshot_rolls_again_although_a_newer_one_was_aborted_since(world: Any) -> None:
    world.first()
    aborted(world, "s2", "s3")
    world.go(11)
    world.ask("retry", "s2")
    assert world.go(1).state.candidate == "s2"
    assert world.state.retried is None


def test_a_retried_snapshot_waits_for_what_is_rolling_and_gives_way_to_what_is_newer(world: Any) -> None:
    world.first()
    aborted(world, "s2")
    world.cut("s3")
    world.until(Phase.PROGRESSING)
    world.ask("retry", "s2")
    world.go(1)
    assert (world.state.candidate, world.state.waiting) == ("s3", "s2")
    world.cut("s4")
    assert world.go(1).state.waiting == "s4"
    world.snapshots.pop()
    world.ask("abort")
    world.go(1)
    assert world.go(11).state.candidate == "s2"


def test_a_retried_snapshot_that_a_promotion_overtook_rolls_no_more(world: Any, make_spec: Any) -> None:
    world.first()
    aborted(world, "s2")
    world.cut("s3")
    world.until(Phase.PROGRESSING)
    world.ask("retry", "s2")
    world.go(1)
    world.spec = make_spec(steps=[])
    world.until(Phase.STABLE)
    assert (world.state.stable, world.state.retried) == ("s3", None)
    assert "s2 is older" in world.notes[-1].message
    assert world.go(11).go(11).state.phase == Phase.STABLE


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda world: world.snapshots.pop(1), "does not list s2"),
        (lambda world: setattr(world, "spec_hash", "h2"), "older spec"),
        (
            lambda world: world.snapshots.__setitem__(
                1, msgspec.structs.replace(world.snapshots[1], verified=False)
            ),
            "not verified",
        ),
        (
            lambda world: world.snapshots.__setitem__(
                1, msgspec.structs.replace(world.snapshots[1], metrics={"indexRecall": 0.5})
            ),
            "fidelity",
        ),
    ],
)
def test_a_retry_that_could_roll_nothing_is_refused_with_its_reason(
    world: Any, change: Any, reason: str
) -> None:
    world.first()
    aborted(world, "s2")
    change(world)
    world.ask("retry", "s2")
    world.go(1)
    assert world.reasons() == ["CommandIgnored"]
    assert reason in world.notes[0].message
    assert world.state.retried is None


def test_a_snapshot_older_than_stable_is_not_retried(world: Any, make_spec: Any) -> None:
    world.first()
    aborted(world, "s2")
    world.spec = make_spec(steps=[])
    world.cut("s3")
    world.until(Phase.PROMOTING)
    world.until(Phase.STABLE)
    world.ask("retry", "s2")
    world.go(1)
    assert "not newer than stable s3" in world.notes[0].message


# --- notes


def test_the_notes_of_a_pass_are_in_the_state_it_left_numbered_on(world: Any) -> None:
    world.rolling(at=6)
    numbers = [note.number for note in world.state.notes]
    assert numbers == list(range(1, len(numbers) + 1))
    assert [note.epoch for note in world.state.notes] == sorted(note.epoch for note in world.state.notes)


def test_old_notes_are_dropped_but_never_those_of_the_pass(world: Any) -> None:
    world.first()
    for number in range(100):
        world.ask("resume", name=f"c{number}")
    world.go(1)
    assert len(world.notes) == 100
    world.ask("resume", name="last")
    world.go(1)
    assert len(world.state.notes) == NOTES_KEPT + 1
