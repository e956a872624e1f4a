"""What each move does to the state, and the note that tells people. Pure; nobody here decides *when*.

Every function takes the :class:`Look` of this pass and the state before, and returns a :data:`Moved`.
"""

import zlib
from typing import Any, Final, NamedTuple

import msgspec

from sluice.model import ModelSpec, OnFailure, OnTimeout, Step
from sluice_operator.rollout.actions import Note, NoteType
from sluice_operator.rollout.candidates import newest_eligible
from sluice_operator.rollout.gates import failed, timeout_effect, undecided
from sluice_operator.rollout.observation import Observation
from sluice_operator.rollout.pods import canary_needed, lagging, missing_bytes, weight_at
from sluice_operator.rollout.state import (
    ABORTED_KEPT,
    PROMOTED_KEPT,
    Aborted,
    HeldBy,
    PausedBy,
    Phase,
    RolloutState,
    elapsed,
)

RECORDED_FROM: Final = 100
"""A promotion records a metric for later LastPromotion gates only from so many paired events."""


class Look(NamedTuple):
    """What one pass looks at; ``now`` is Unix seconds."""

    spec: ModelSpec
    seen: Observation
    now: float

    @property
    def steps(self) -> tuple[Step, ...]:
        """Return the steps now in the spec."""
        return self.spec.rollout.steps


Moved = tuple[RolloutState, Note]


def normal(reason: str, message: str) -> Note:
    """Return a note about something that went as planned."""
    return Note(type=NoteType.NORMAL, reason=reason, message=message)


def warning(reason: str, message: str) -> Note:
    """Return a note that a person should read."""
    return Note(type=NoteType.WARNING, reason=reason, message=message)


def change(state: RolloutState, **fields: Any) -> RolloutState:
    """Return the state with some fields replaced."""
    return msgspec.structs.replace(state, **fields)


def steps_hash(steps: tuple[Step, ...]) -> int:
    """Return a number that changes when the steps do."""
    return zlib.crc32(msgspec.json.encode(steps))


def step_name(steps: tuple[Step, ...], step: int) -> str:
    """Return a step in words, counted from 1: ``step 2 of 7 (gate recall, baseline)``."""
    if step >= len(steps):
        return f"all {len(steps)} steps done"
    it, what = steps[step], "empty"
    if it.shadow is not None:
        what = f"shadow {it.shadow.events} events"
    elif it.set_weight is not None:
        what = f"setWeight {it.set_weight}"
    elif it.pause is not None:
        what = f"pause {it.pause.duration}" if it.pause.duration else "pause until promoted"
    elif it.gate is not None:
        what = f"gate {', '.join(it.gate.names)}"
    return f"step {step + 1} of {len(steps)} ({what})"


# --- a candidate's way forward ----------------------------------------------------------------------------


def start(look: Look, state: RolloutState) -> Moved:
    """Begin to roll the newest eligible snapshot; the very first one skips the steps."""
    candidate, first = newest_eligible(look.spec, state, look.seen), state.stable is None
    started = change(
        state,
        phase=Phase.PROMOTING if first else Phase.PROGRESSING,
        rollout=f"{candidate}-{int(look.now)}",
        candidate=candidate,
        step=len(look.steps) if first else 0,
        rollout_started_at=look.now,
        step_started_at=look.now,
        weight_started_at=look.now,
        pods_awaited_since=look.now if first else None,
        measurements=(),
        spec_hash=look.seen.spec_hash,
        steps_hash=steps_hash(look.steps),
    )
    against = "the first snapshot, without steps" if first else f"beside stable {state.stable}"
    return started, normal("RolloutStarted", f"{candidate} rolls, {against}")


def restart(look: Look, state: RolloutState) -> Moved:
    """Take the candidate back to the first step with weight 0, because the steps were edited."""
    fresh = change(
        _reset_weight(look, state),
        phase=state.phase if state.phase == Phase.PAUSED else Phase.PROGRESSING,
        step=0,
        step_started_at=look.now,
        pods_awaited_since=None,
        steps_hash=steps_hash(look.steps),
    )
    return fresh, normal("StepsChanged", f"the steps were edited: {state.candidate} starts them anew at weight 0")


def next_step(look: Look, state: RolloutState) -> Moved:
    """Go on to the next step."""
    return _to_step(look, state, state.step + 1), normal("StepDone", f"{_where(look, state)} done")


def skip_step(look: Look, state: RolloutState) -> Moved:
    """Go on although the step is not done or the rollout is paused, because a person said so."""
    after = _to_step(look, state, min(state.step + 1, len(look.steps)))
    return after, normal("StepSkipped", f"{_where(look, state)} skipped by promote")


def await_pods(look: Look, state: RolloutState) -> Moved:
    """Wait for canary pods; a weight they already carry stays."""
    weight = weight_at(look.steps, state.step)
    needed = canary_needed(look.seen.fleet.stable.desired, weight)
    message = f"weight {weight} needs {needed} canary pods with {state.candidate}"
    after = change(state, phase=Phase.PREPARING, pods_awaited_since=look.now)
    return after, normal("PreparingCanary", message)


def set_weight(look: Look, state: RolloutState) -> Moved:
    """Give the step's weight to the canary pods that are ready for it."""
    weight = weight_at(look.steps, state.step)
    after = change(
        state,
        phase=Phase.PROGRESSING,
        weight=weight,
        canary_granted=canary_needed(look.seen.fleet.stable.desired, weight),
        weight_started_at=look.now,
        step_started_at=look.now,
        pods_awaited_since=None,
    )
    return after, normal("WeightSet", f"{state.candidate} gets weight {weight} (was {state.weight})")


def lose_pods(look: Look, state: RolloutState) -> Moved:
    """Take the weight away until the canary pods are ready again; a pause or promotion goes on without it."""
    waits = state.phase in (Phase.PROGRESSING, Phase.PREPARING)
    since = state.pods_awaited_since if state.pods_awaited_since is not None or not waits else look.now
    after = change(
        _reset_weight(look, state),
        phase=Phase.PREPARING if waits else state.phase,
        pods_awaited_since=since,
    )
    lost = lagging(look.seen.fleet.canary, state.candidate)
    return after, warning("CanaryLost", f"weight {state.weight} → 0 until canary pods are ready: {lost}")


def block(look: Look, state: RolloutState) -> Moved:
    """Stop before the first weight because a stable pod could never hold the candidate."""
    missing = missing_bytes(state, look.seen)
    message = f"a stable pod lacks {missing} bytes to hold {state.candidate} beside {state.stable}"
    return change(state, phase=Phase.BLOCKED), warning("Blocked", message)


def unblock(look: Look, state: RolloutState) -> Moved:
    """Go on where it was blocked."""
    after = change(state, phase=Phase.PROGRESSING, step_started_at=look.now)
    return after, normal("Unblocked", f"every stable pod has room for {state.candidate}")


def prepare_promotion(look: Look, state: RolloutState) -> Moved:
    """Have every stable pod load the candidate beside stable; an abort is still free."""
    after = change(state, phase=Phase.PROMOTING, step_started_at=look.now, pods_awaited_since=look.now)
    return after, normal("Promoting", f"stable pods load {state.candidate} beside {state.stable}")


def commit_promotion(look: Look, state: RolloutState) -> Moved:
    """Name the candidate stable: one routing write."""
    after = change(
        _ended(look, state),
        phase=Phase.STABLE,
        stable=state.candidate,
        promoted=_promoted(state, state.candidate),
        last_promotion={**state.last_promotion, **_means(look, state)},
    )
    return after, normal("Promoted", f"{state.candidate} is stable, {state.stable or 'nothing'} was before")


def _means(look: Look, state: RolloutState) -> dict[str, float]:
    if look.seen.evidence_rollout != state.rollout:
        return {}
    paired = look.seen.evidence.paired
    return {name: sums.candidate / sums.n for name, sums in paired.items() if sums.n >= RECORDED_FROM}


# --- stopping ---------------------------------------------------------------------------------------------


def pause(look: Look, state: RolloutState, by: PausedBy, reason: str) -> Moved:
    """Keep the candidate at its step and weight."""
    after = change(state, phase=Phase.PAUSED, paused_by=by, paused_reason=reason, pods_awaited_since=None)
    return after, warning("Paused", f"{state.candidate} at {_where(look, state)}, weight {state.weight}: {reason}")


def pause_by_spec(look: Look, state: RolloutState) -> Moved:
    """Pause because ``spec.rollout.paused`` is true."""
    return pause(look, state, PausedBy.SPEC, "spec.rollout.paused is true")


def resume(look: Look, state: RolloutState) -> Moved:
    """Go on at the step where it was paused; the step's clock starts anew."""
    after = _to_step(look, state, state.step)
    return after, normal("Resumed", f"{state.candidate} goes on at {_where(look, state)}")


def abort(look: Look, state: RolloutState, reason: str) -> Moved:
    """Drop the candidate for good: weight 0, everyone on stable, never tried again by itself."""
    after = _rejected(look, _idle(look, state), state.candidate, reason)
    served = state.stable or "nothing"
    return after, warning("Aborted", f"{state.candidate} at {_where(look, state)}: {reason}; {served} serves all")


def drop(look: Look, state: RolloutState, reason: str) -> Moved:
    """Let the candidate go without rejecting it."""
    return _idle(look, state), warning("RolloutDropped", f"{state.candidate}: {reason}")


def fail_gate(look: Look, state: RolloutState) -> Moved:
    """Do what ``onFailure`` says."""
    gate = failed(state.measurements)
    reason = f"gate {gate.gate} failed: {gate.reason}" if gate else "a gate failed"
    if look.spec.rollout.on_failure == OnFailure.PAUSE:
        return pause(look, state, PausedBy.GATE, reason)
    return abort(look, state, reason)


def time_out_gate(look: Look, state: RolloutState) -> Moved:
    """Do what ``onTimeout`` of the undecided gates says, the strictest first."""
    gate = look.steps[state.step].gate
    waiting = undecided(gate, state.measurements) if gate else ()
    effect = timeout_effect(look.spec.rollout.gates, waiting)
    words = "; ".join(f"{each.gate} {each.verdict} ({each.reason})" for each in waiting)
    reason = f"undecided after {elapsed(state.step_started_at, look.now):.0f} s: {words}"
    if effect == OnTimeout.ROLLBACK:
        return abort(look, state, reason)
    if effect == OnTimeout.PAUSE:
        return pause(look, state, PausedBy.GATE, reason)
    return _to_step(look, state, state.step + 1), warning("GateProceeded", f"{_where(look, state)}: {reason}")


def miss_deadline(look: Look, state: RolloutState) -> Moved:
    """Abort because pods were not ready in ``progressDeadline``."""
    fleet = look.seen.fleet
    group = fleet.stable if state.phase == Phase.PROMOTING else fleet.canary
    late = lagging(group, state.candidate)
    return abort(look, state, f"pods not ready within {look.spec.rollout.progress_deadline}: {late}")


# --- going back -------------------------------------------------------------------------------------------


def go_back(look: Look, state: RolloutState, target: str, by: HeldBy, reason: str) -> Moved:
    """Start to serve an earlier (or pinned) snapshot without steps. A rollback rejects what it rolls over."""
    after = _ended(look, state)
    if by == HeldBy.ROLLBACK and state.candidate:
        after = _rejected(look, after, state.candidate, reason)
    after = change(
        after,
        phase=Phase.ROLLING_BACK,
        target=target,
        held_by=by,
        held_reason=reason,
        pods_awaited_since=look.now,
    )
    return after, warning("RollingBack", f"{state.stable or 'nothing'} → {target}: {reason}")


def arrive_back(look: Look, state: RolloutState) -> Moved:
    """Name the target stable and hold. Rolled back *from* = rejected; a pin rejects nothing."""
    after = change(
        _ended(look, state),
        phase=Phase.HELD,
        stable=state.target,
        promoted=_promoted(state, state.target),
        aborted=tuple(entry for entry in state.aborted if entry.id != state.target),
    )
    if state.held_by == HeldBy.ROLLBACK:
        after = _rejected(look, after, state.stable, f"rolled back to {state.target}")
    return after, warning("RolledBack", f"{state.target} is stable and held: {state.held_reason}")


def hold(look: Look, state: RolloutState, by: HeldBy, reason: str) -> Moved:
    """Stay on stable and start nothing; a candidate is let go."""
    if state.stable is None:
        return drop(look, state, reason)
    after = change(_ended(look, state), phase=Phase.HELD, held_by=by, held_reason=reason)
    return after, warning("Held", f"{state.stable} serves all and nothing starts: {reason}")


def let_go(look: Look, state: RolloutState, reason: str) -> Moved:
    """End a hold (or a going back that nobody wants any more)."""
    return _idle(look, state), normal("Released", f"{state.stable or 'no snapshot'} is no longer held: {reason}")


# --- shared -----------------------------------------------------------------------------------------------


def forget_abort(state: RolloutState, snapshot: str) -> RolloutState:
    """Return the state with a snapshot no longer aborted."""
    return change(state, aborted=tuple(entry for entry in state.aborted if entry.id != snapshot))


def _where(look: Look, state: RolloutState) -> str:
    return step_name(look.steps, state.step)


def _to_step(look: Look, state: RolloutState, step: int) -> RolloutState:
    return change(
        state,
        phase=Phase.PROGRESSING,
        step=step,
        step_started_at=look.now,
        pods_awaited_since=None,
        paused_by=None,
        paused_reason="",
    )


def _reset_weight(look: Look, state: RolloutState) -> RolloutState:
    return change(state, weight=0, canary_granted=0, weight_started_at=look.now)


def _ended(look: Look, state: RolloutState) -> RolloutState:
    """Return the state with nothing rolling and nobody on a candidate; the caller sets the phase."""
    return change(
        state,
        rollout="",
        candidate=None,
        target=None,
        step=0,
        weight=0,
        canary_granted=0,
        paused_by=None,
        paused_reason="",
        rollout_started_at=None,
        rollout_ended_at=look.now,
        step_started_at=None,
        weight_started_at=None,
        pods_awaited_since=None,
    )


def _idle(look: Look, state: RolloutState) -> RolloutState:
    phase = Phase.STABLE if state.stable is not None else Phase.WAITING
    return change(_ended(look, state), phase=phase, held_by=None, held_reason="")


def _promoted(state: RolloutState, snapshot: str | None) -> tuple[str, ...]:
    earlier = tuple(each for each in state.promoted if each != snapshot)
    return (snapshot or "", *earlier)[:PROMOTED_KEPT]


def _rejected(look: Look, state: RolloutState, snapshot: str | None, reason: str) -> RolloutState:
    if snapshot is None:
        return state
    entry = Aborted(id=snapshot, reason=reason[:500], at=look.now)
    others = tuple(each for each in state.aborted if each.id != snapshot)
    return change(state, aborted=(*others, entry)[-ABORTED_KEPT:])
