"""When an event happens. The ordered :data:`RULES` join each event of the table to its test and its move.

Tests only look; they see the state after the moves before them in the same pass.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from sluice.model import OnFailure, seconds
from sluice_operator.rollout import moves, pods, stops
from sluice_operator.rollout.candidates import newest_eligible, usable
from sluice_operator.rollout.change import Look, Moved, steps_hash
from sluice_operator.rollout.gates import failed, undecided
from sluice_operator.rollout.readings import paired_events
from sluice_operator.rollout.state import HeldBy, PausedBy, Phase, RolloutState, elapsed
from sluice_operator.rollout.table import TABLE, Event

REST_S: Final = 2.0
"""Seconds on stable alone between two rollouts, so that the end of one is published before the next begins."""


def _pinned_elsewhere(look: Look, state: RolloutState) -> bool:
    pin = look.spec.snapshots.pin
    return pin is not None and pin not in (state.stable, state.target) and usable(look.spec, look.seen, pin)


def _pinned_here(look: Look, state: RolloutState) -> bool:
    pin = look.spec.snapshots.pin
    if pin is None or state.stable is None:
        return False
    return pin == state.stable or state.phase != Phase.ROLLING_BACK


def _unpinned(look: Look, state: RolloutState) -> bool:
    return state.held_by == HeldBy.PIN and look.spec.snapshots.pin is None


def _target_gone(look: Look, state: RolloutState) -> bool:
    return not usable(look.spec, look.seen, state.target)


def _rolled_back(look: Look, state: RolloutState) -> bool:
    return pods.loaded_by_ready(look.seen.fleet.stable, state.target)


def _candidate_gone(look: Look, state: RolloutState) -> bool:
    return look.seen.snapshot(state.candidate) is None


def _spec_changed(look: Look, state: RolloutState) -> bool:
    return state.spec_hash != look.seen.spec_hash


def _gate_failed(look: Look, state: RolloutState) -> bool:
    """Whether a failed gate acts. ``onFailure: Pause`` does nothing to what is paused, or past its last step."""
    stoppable = state.phase != Phase.PAUSED and not _steps_done(look, state)
    acts = look.spec.rollout.on_failure == OnFailure.ROLLBACK or stoppable
    return acts and failed(state.measurements) is not None


def _pods_lost(look: Look, state: RolloutState) -> bool:
    return pods.canary_lost(state, look.seen)


def _steps_changed(look: Look, state: RolloutState) -> bool:
    return state.stable is not None and state.steps_hash != steps_hash(look.steps)


def _spec_paused(look: Look, _state: RolloutState) -> bool:
    return look.spec.rollout.paused


def _spec_resumed(look: Look, state: RolloutState) -> bool:
    return state.paused_by == PausedBy.SPEC and not look.spec.rollout.paused


def _gate_timed_out(look: Look, state: RolloutState) -> bool:
    gate = look.steps[state.step].gate if not _steps_done(look, state) else None
    if gate is None or not undecided(gate, state.measurements):
        return False
    return elapsed(state.step_started_at, look.now) >= seconds(gate.timeout)


def _needs_weight(look: Look, state: RolloutState) -> bool:
    return not _steps_done(look, state) and state.weight != pods.weight_at(look.steps, state.step)


def _no_room(look: Look, state: RolloutState) -> bool:
    """Whether memory stops the first weight, or a promotion that no weight went before."""
    due = _steps_done(look, state) or (_needs_weight(look, state) and state.weight == 0)
    return state.stable is not None and due and pods.missing_bytes(state, look.seen) > 0


def _room(look: Look, state: RolloutState) -> bool:
    return pods.missing_bytes(state, look.seen) == 0


def _weight_ready(look: Look, state: RolloutState) -> bool:
    weight = pods.weight_at(look.steps, state.step)
    due = state.phase == Phase.PREPARING or _needs_weight(look, state)
    return due and pods.canary_can_take(state, look.seen, weight)


def _pods_late(look: Look, state: RolloutState) -> bool:
    """Whether ``progressDeadline`` has passed. The first snapshot waits on until there is a newer one."""
    late = elapsed(state.pods_awaited_since, look.now) >= seconds(look.spec.rollout.progress_deadline)
    return late and (state.stable is not None or newest_eligible(look.spec, state, look.seen) is not None)


def _step_done(look: Look, state: RolloutState) -> bool:
    if _steps_done(look, state):
        return False
    it = look.steps[state.step]
    if it.shadow is not None:
        return paired_events(state, look.seen) >= it.shadow.events
    if it.pause is not None:
        limit = it.pause.duration
        return limit is not None and elapsed(state.step_started_at, look.now) >= seconds(limit)
    return it.gate is None or not undecided(it.gate, state.measurements)


def _steps_done(look: Look, state: RolloutState) -> bool:
    """Whether no step is left; the first snapshot has none."""
    return state.stable is None or state.step >= len(look.steps)


def _promotable(look: Look, state: RolloutState) -> bool:
    return pods.loaded_by_all(look.seen.fleet.stable, state.candidate)


def _candidate_found(look: Look, state: RolloutState) -> bool:
    rested = state.rollout_ended_at is None or elapsed(state.rollout_ended_at, look.now) >= REST_S
    free = rested and not look.spec.rollout.paused
    return free and newest_eligible(look.spec, state, look.seen) is not None


class Rule(NamedTuple):
    """An event, when it happens, and the move it makes."""

    event: Event
    when: Callable[[Look, RolloutState], bool]
    then: Callable[[Look, RolloutState], Moved]


RULES: Final[tuple[Rule, ...]] = (
    # First what the owner says, then what protects users, then what goes forward. The first true rule wins.
    Rule(Event.PINNED_ELSEWHERE, _pinned_elsewhere, stops.go_to_pin),
    Rule(Event.PINNED_HERE, _pinned_here, stops.stay_pinned),
    Rule(Event.UNPINNED, _unpinned, stops.unpin),
    Rule(Event.TARGET_GONE, _target_gone, stops.lose_target),
    Rule(Event.ROLLED_BACK, _rolled_back, stops.arrive_back),
    Rule(Event.CANDIDATE_GONE, _candidate_gone, stops.lose_candidate),
    Rule(Event.SPEC_CHANGED, _spec_changed, stops.outdate),
    Rule(Event.GATE_FAILED, _gate_failed, stops.fail_gate),
    Rule(Event.PODS_LOST, _pods_lost, moves.lose_pods),
    Rule(Event.STEPS_CHANGED, _steps_changed, moves.restart),
    Rule(Event.SPEC_PAUSED, _spec_paused, stops.pause_by_spec),
    Rule(Event.SPEC_RESUMED, _spec_resumed, stops.resume),
    Rule(Event.GATE_TIMED_OUT, _gate_timed_out, stops.time_out_gate),
    Rule(Event.NO_ROOM, _no_room, moves.block),
    Rule(Event.ROOM, _room, moves.unblock),
    Rule(Event.WEIGHT_SET, _weight_ready, moves.set_weight),
    Rule(Event.PODS_AWAITED, _needs_weight, moves.await_pods),
    Rule(Event.STEP_DONE, _step_done, moves.next_step),
    Rule(Event.STEPS_DONE, _steps_done, moves.prepare_promotion),
    Rule(Event.PROMOTED, _promotable, moves.commit_promotion),
    Rule(Event.PODS_LATE, _pods_late, stops.miss_deadline),
    Rule(Event.CANDIDATE_FOUND, _candidate_found, moves.start),
)


def first_true(look: Look, state: RolloutState) -> Rule | None:
    """Return the first rule that the table allows in this phase and that is true now."""
    legal = (rule for rule in RULES if rule.event in TABLE[state.phase])
    return next((rule for rule in legal if rule.when(look, state)), None)
