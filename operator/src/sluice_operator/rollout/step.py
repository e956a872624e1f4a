"""The rollout as one pure function: ``step(spec, state, observation, now) -> (state, actions)``.

What may live here: when an event happens (:data:`RULES`) and which levels follow from a state
(:func:`levels`). What may not: I/O, a clock, randomness. The legal moves are in ``table``, what they do in
``moves``, what people may ask for in ``commands``.

Theory of operation. Each pass first obeys new commands, then applies the first rule that the table allows and
that is true, again and again until none is. So a pass ends where nothing more follows from what is observed,
and a second pass at the same observation and time changes nothing. Between two rollouts everybody is
published on stable for :data:`REST_S`. The epoch rises by one if the pass decided anything. Then the levels
(routing, wanted snapshots, replicas) are emitted whole, whatever was emitted before: missing a pass or an
event costs only time.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from sluice.model import ModelSpec, OnFailure, seconds
from sluice_operator.rollout import moves, pods
from sluice_operator.rollout.actions import (
    Action,
    GroupName,
    Note,
    PublishRouting,
    Release,
    ScaleCanary,
    WantSnapshots,
)
from sluice_operator.rollout.candidates import newest_eligible, previous, releasable, usable
from sluice_operator.rollout.commands import steer
from sluice_operator.rollout.gates import failed, measure_all, undecided
from sluice_operator.rollout.message import describe
from sluice_operator.rollout.moves import Look, Moved
from sluice_operator.rollout.observation import Observation
from sluice_operator.rollout.state import (
    ROLLING,
    HeldBy,
    PausedBy,
    Phase,
    RolloutState,
    decided,
    elapsed,
)
from sluice_operator.rollout.table import TABLE, Event, check

REST_S: Final = 10.0
"""Seconds on stable alone between two rollouts, so that the end of one is published before the next begins."""

_MOST_MOVES: Final = 256
"""More moves than any pass can make (32 steps take at most 3 each); a bound in case of a defect."""


def step(
    spec: ModelSpec, state: RolloutState, observation: Observation, now: float
) -> tuple[RolloutState, tuple[Action, ...]]:
    """Decide one pass; ``now`` is Unix seconds. Returns the new state and the actions, routing first.

    The same observation and time again return the same state and levels, without notes.
    """
    look = Look(spec, observation, now)
    after, notes = steer(look, state)
    after, more = _settle(look, after)
    after = _report(look, after)
    if decided(state, after):
        after = moves.change(after, epoch=state.epoch + 1)
    return after, (*levels(look, after), *notes, *more)


def _settle(look: Look, state: RolloutState) -> tuple[RolloutState, tuple[Note, ...]]:
    """Apply rules until none is true."""
    notes: list[Note] = []
    for _ in range(_MOST_MOVES):
        state = _measured(look, state)
        rule = next((rule for rule in RULES if _applies(rule, look, state)), None)
        if rule is None:
            break
        after, note = rule.then(look, state)
        state = check(rule.event, state, after)
        notes.append(note)
    return state, tuple(notes)


def _measured(look: Look, state: RolloutState) -> RolloutState:
    if state.phase not in ROLLING:
        return state
    measurements = measure_all(look.spec.rollout.gates, state, look.seen, look.now)
    return moves.change(state, measurements=measurements)


def _report(look: Look, state: RolloutState) -> RolloutState:
    """Return the state with what only reports: what waits, and what is missing."""
    waiting = newest_eligible(look.spec, state, look.seen) if state.phase in ROLLING else None
    state = moves.change(state, waiting=waiting)
    return moves.change(state, message=describe(look, state))


# --- levels -----------------------------------------------------------------------------------------------


def levels(look: Look, state: RolloutState) -> tuple[Action, ...]:
    """Return how things should be in this state: routing before pods, releases last."""
    replicas = pods.canary_replicas(look.steps, state, look.seen)
    canary = (state.candidate,) if state.candidate and replicas else ()
    wanted: tuple[Action, ...] = (
        _routing(state),
        WantSnapshots(group=GroupName.STABLE, ids=_stable_set(look, state)),
        WantSnapshots(group=GroupName.CANARY, ids=canary),
        ScaleCanary(replicas=replicas),
    )
    released = releasable(look.spec, state, look.seen)
    return (*wanted, Release(ids=released)) if released else wanted


def _routing(state: RolloutState) -> PublishRouting:
    """Return the routing. The first snapshot is nobody's candidate: there is nothing to compare it with."""
    candidate = state.candidate if state.stable is not None else None
    return PublishRouting(
        rollout=state.rollout, stable=state.stable, candidate=candidate, weight=state.weight
    )


def _stable_set(look: Look, state: RolloutState) -> tuple[str, ...]:
    """Return what stable pods hold: stable, and beside it what comes, else what was before.

    While the candidate is loaded for its promotion the one before stable makes room, so that a pod never
    holds three.
    """
    promoting = state.phase == Phase.PROMOTING or (
        state.phase == Phase.PAUSED and state.step >= len(look.steps)
    )
    beside = state.target or (state.candidate if promoting else previous(state, look.seen))
    return tuple(snapshot for snapshot in (state.stable, beside) if snapshot)


# --- rules: when does an event happen? --------------------------------------------------------------------


def _pinned_elsewhere(look: Look, state: RolloutState) -> bool:
    pin = look.spec.snapshots.pin
    return pin is not None and pin not in (state.stable, state.target) and usable(look.spec, look.seen, pin)


def _pinned_here(look: Look, state: RolloutState) -> bool:
    pin = look.spec.snapshots.pin
    if pin is None or state.stable is None:
        return False
    return pin == state.stable if state.phase == Phase.ROLLING_BACK else pin != state.target


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
    """Whether a failed gate acts. With ``onFailure: Pause`` it cannot stop what is paused or was overruled."""
    stoppable = state.phase not in (Phase.PAUSED, Phase.PROMOTING)
    acts = look.spec.rollout.on_failure == OnFailure.ROLLBACK or stoppable
    return acts and failed(state.measurements) is not None


def _pods_lost(look: Look, state: RolloutState) -> bool:
    return pods.canary_lost(state, look.seen)


def _steps_changed(look: Look, state: RolloutState) -> bool:
    return state.stable is not None and state.steps_hash != moves.steps_hash(look.steps)


def _spec_paused(look: Look, _state: RolloutState) -> bool:
    return look.spec.rollout.paused


def _spec_resumed(look: Look, state: RolloutState) -> bool:
    return state.paused_by == PausedBy.SPEC and not look.spec.rollout.paused


def _gate_timed_out(look: Look, state: RolloutState) -> bool:
    gate = look.steps[state.step].gate if state.step < len(look.steps) else None
    if gate is None or not undecided(gate, state.measurements):
        return False
    return elapsed(state.step_started_at, look.now) >= seconds(gate.timeout)


def _needs_weight(look: Look, state: RolloutState) -> bool:
    return state.step < len(look.steps) and state.weight != pods.weight_at(look.steps, state.step)


def _no_room(look: Look, state: RolloutState) -> bool:
    """Whether memory stops the first weight, or a promotion that no weight went before."""
    first = _needs_weight(look, state) and state.weight == 0
    return (first or _steps_done(look, state)) and pods.missing_bytes(state, look.seen) > 0


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
    if state.step >= len(look.steps):
        return False
    it = look.steps[state.step]
    if it.shadow is not None:
        return paired_events(look, state) >= it.shadow.events
    if it.pause is not None:
        limit = it.pause.duration
        return limit is not None and elapsed(state.step_started_at, look.now) >= seconds(limit)
    return it.gate is None or not undecided(it.gate, state.measurements)


def _steps_done(look: Look, state: RolloutState) -> bool:
    return state.step >= len(look.steps)


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
    Rule(Event.PINNED_ELSEWHERE, _pinned_elsewhere, moves.go_to_pin),
    Rule(Event.PINNED_HERE, _pinned_here, moves.stay_pinned),
    Rule(Event.UNPINNED, _unpinned, moves.unpin),
    Rule(Event.TARGET_GONE, _target_gone, moves.lose_target),
    Rule(Event.ROLLED_BACK, _rolled_back, moves.arrive_back),
    Rule(Event.CANDIDATE_GONE, _candidate_gone, moves.lose_candidate),
    Rule(Event.SPEC_CHANGED, _spec_changed, moves.outdate),
    Rule(Event.GATE_FAILED, _gate_failed, moves.fail_gate),
    Rule(Event.PODS_LOST, _pods_lost, moves.lose_pods),
    Rule(Event.STEPS_CHANGED, _steps_changed, moves.restart),
    Rule(Event.SPEC_PAUSED, _spec_paused, moves.pause_by_spec),
    Rule(Event.SPEC_RESUMED, _spec_resumed, moves.resume),
    Rule(Event.GATE_TIMED_OUT, _gate_timed_out, moves.time_out_gate),
    Rule(Event.NO_ROOM, _no_room, moves.block),
    Rule(Event.ROOM, _room, moves.unblock),
    Rule(Event.WEIGHT_SET, _weight_ready, moves.set_weight),
    Rule(Event.PODS_AWAITED, _needs_weight, moves.await_pods),
    Rule(Event.STEP_DONE, _step_done, moves.next_step),
    Rule(Event.STEPS_DONE, _steps_done, moves.prepare_promotion),
    Rule(Event.PROMOTED, _promotable, moves.commit_promotion),
    Rule(Event.PODS_LATE, _pods_late, moves.miss_deadline),
    Rule(Event.CANDIDATE_FOUND, _candidate_found, moves.start),
)


def _applies(rule: Rule, look: Look, state: RolloutState) -> bool:
    return rule.event in TABLE[state.phase] and rule.when(look, state)
