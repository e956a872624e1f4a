"""Stopping and going back: pause, abort, gates that fail, rollback, pin. The counterpart of ``moves``."""

from sluice.model import OnFailure, OnTimeout
from sluice_operator.rollout.candidates import usable
from sluice_operator.rollout.change import (
    Look,
    Moved,
    change,
    ended,
    idle,
    normal,
    promoted_with,
    rejected,
    to_step,
    warning,
    where,
)
from sluice_operator.rollout.gates import failed, timeout_effect, undecided
from sluice_operator.rollout.pods import lagging
from sluice_operator.rollout.state import HeldBy, PausedBy, Phase, RolloutState, elapsed


def pause(look: Look, state: RolloutState, by: PausedBy, reason: str) -> Moved:
    """Keep the candidate at its step and weight."""
    after = change(state, phase=Phase.PAUSED, paused_by=by, paused_reason=reason, pods_awaited_since=None)
    return after, warning(
        "Paused", f"{state.candidate} at {where(look, state)}, weight {state.weight}: {reason}"
    )


def pause_by_spec(look: Look, state: RolloutState) -> Moved:
    """Pause because ``spec.rollout.paused`` is true."""
    return pause(look, state, PausedBy.SPEC, "spec.rollout.paused is true")


def resume(look: Look, state: RolloutState) -> Moved:
    """Go on at the step where it was paused; the step's clock starts anew."""
    after = to_step(look, state, state.step)
    return after, normal("Resumed", f"{state.candidate} goes on at {where(look, state)}")


def abort(look: Look, state: RolloutState, reason: str) -> Moved:
    """Drop the candidate for good: weight 0, everyone on stable, never tried again by itself."""
    after = rejected(look, idle(look, state), state.candidate, reason)
    served = state.stable or "nothing"
    return after, warning(
        "Aborted", f"{state.candidate} at {where(look, state)}: {reason}; {served} serves all"
    )


def drop(look: Look, state: RolloutState, reason: str) -> Moved:
    """Let the candidate go without rejecting it."""
    return idle(look, state), warning("RolloutDropped", f"{state.candidate}: {reason}")


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
    return to_step(look, state, state.step + 1), warning("GateProceeded", f"{where(look, state)}: {reason}")


def miss_deadline(look: Look, state: RolloutState) -> Moved:
    """Abort because pods were not ready in ``progressDeadline``."""
    fleet = look.seen.fleet
    group = fleet.stable if state.phase == Phase.PROMOTING else fleet.canary
    late = lagging(group, state.candidate)
    return abort(look, state, f"pods not ready within {look.spec.rollout.progress_deadline}: {late}")


def go_back(look: Look, state: RolloutState, target: str, by: HeldBy, reason: str) -> Moved:
    """Start to serve an earlier (or pinned) snapshot without steps. A rollback rejects what it rolls over."""
    after = ended(look, state)
    if by == HeldBy.ROLLBACK and state.candidate:
        after = rejected(look, after, state.candidate, reason)
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
        ended(look, state),
        phase=Phase.HELD,
        stable=state.target,
        promoted=promoted_with(state, state.target),
        aborted=tuple(entry for entry in state.aborted if entry.id != state.target),
    )
    if state.held_by == HeldBy.ROLLBACK:
        after = rejected(look, after, state.stable, f"rolled back to {state.target}")
    return after, warning("RolledBack", f"{state.target} is stable and held: {state.held_reason}")


def hold(look: Look, state: RolloutState, by: HeldBy, reason: str) -> Moved:
    """Stay on stable and start nothing; a candidate is let go."""
    if state.stable is None:
        return drop(look, state, reason)
    after = change(ended(look, state), phase=Phase.HELD, held_by=by, held_reason=reason)
    return after, warning("Held", f"{state.stable} serves all and nothing starts: {reason}")


def let_go(look: Look, state: RolloutState, reason: str) -> Moved:
    """End a hold (or a going back that nobody wants any more)."""
    return idle(look, state), normal(
        "Released", f"{state.stable or 'no snapshot'} is no longer held: {reason}"
    )


def go_to_pin(look: Look, state: RolloutState) -> Moved:
    """Go to the snapshot that ``spec.snapshots.pin`` names."""
    pin = look.spec.snapshots.pin or ""
    return go_back(look, state, pin, HeldBy.PIN, f"spec.snapshots.pin is {pin}")


def stay_pinned(look: Look, state: RolloutState) -> Moved:
    """Hold, because the pin names stable, or a snapshot that cannot be served."""
    pin, reason = look.spec.snapshots.pin, f"spec.snapshots.pin is {look.spec.snapshots.pin}"
    if pin != state.stable and not usable(look.spec, look.seen, pin):
        reason += ", which is not listed, verified and past its Snapshot gates"
    return hold(look, state, HeldBy.PIN, reason)


def unpin(look: Look, state: RolloutState) -> Moved:
    """End the hold, because the pin left the spec."""
    return let_go(look, state, "spec.snapshots.pin was removed")


def lose_target(look: Look, state: RolloutState) -> Moved:
    """Stay on stable, because the snapshot to go back to cannot be served any more."""
    reason = f"{state.target} is no longer listed, verified and past its Snapshot gates"
    if state.stable is None:
        return let_go(look, state, reason)
    return hold(look, state, state.held_by or HeldBy.ROLLBACK, reason)


def lose_candidate(look: Look, state: RolloutState) -> Moved:
    """Let the candidate go, because the catalog does not list it any more."""
    return drop(look, state, "the catalog no longer lists it")


def outdate(look: Look, state: RolloutState) -> Moved:
    """Let the candidate go, because the spec it was cut under is no longer in force. It is not rejected."""
    return drop(look, state, "cut under an older spec")
