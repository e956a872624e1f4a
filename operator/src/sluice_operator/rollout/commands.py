"""Steering: what a person may ask for, and what makes a request stale.

- ``promote`` skips the current step (a pause, a shadow, a gate) and ends a pause made by a verb or a gate, so
  a failed gate can be overruled, one step at a time. After the last step the promotion itself begins, so
  with no step left ``promote`` means full promotion. It never skips the waiting for pods or memory.
- ``abort`` drops the candidate and rejects it. During a rollback it stays on the present stable, held.
- ``retry`` has an aborted snapshot rolled again (``snapshot``, else the one aborted last) as soon as nothing
  newer does; refused if it could not roll, because it is older than stable, say.
- ``pause`` keeps the candidate at its step and weight; ``resume`` goes on, or ends the hold of a rollback.
- ``rollback`` goes back to ``snapshot``, else to the one promoted before stable, without steps, then holds
  until ``resume``. A candidate on its way is rejected too.

A command is consumed when first seen, whether it could be done or not, so that it never acts later. It is
stale, and changes nothing else, if its id was consumed, if the table has no move for it in this phase, or if
the ``snapshot`` or ``step`` that the person saw is no longer the current one.
"""

from typing import Final

from sluice_operator.rollout import moves, stops
from sluice_operator.rollout.candidates import previous, retry_refusal, usable
from sluice_operator.rollout.change import Look, Moved, change, forget_abort, normal, warning
from sluice_operator.rollout.observation import Command, Verb
from sluice_operator.rollout.state import CONSUMED_KEPT, HeldBy, Note, PausedBy, Phase, RolloutState
from sluice_operator.rollout.table import TABLE, Event, check

_NAMES_TARGET: Final = (Verb.ROLLBACK, Verb.RETRY)
"""Verbs whose ``snapshot`` says what to go to, not what the person saw."""


def steer(look: Look, state: RolloutState) -> tuple[RolloutState, tuple[Note, ...]]:
    """Carry out every command that is new and not stale, in the order given."""
    notes: list[Note] = []
    for command in look.seen.commands:
        if command.id in state.consumed:
            continue
        state, note = obey(look, state, command)
        state = change(state, consumed=(*state.consumed, command.id))
        notes.append(note)
    return change(state, consumed=_bounded(look, state.consumed)), tuple(notes)


def obey(look: Look, state: RolloutState, command: Command) -> Moved:
    """Carry out one command, or say why it changes nothing."""
    why_not = refusal(look, state, command)
    if why_not:
        return state, warning("CommandIgnored", f"{command.verb} ({command.id}): {why_not}")
    after, note = _EFFECTS[command.verb](look, state, command)
    return check(Event(command.verb), state, after), note


def refusal(look: Look, state: RolloutState, command: Command) -> str:
    """Return why a command cannot be done now; empty if it can."""
    if Event(command.verb) not in TABLE[state.phase]:
        return f"nothing to {command.verb} in phase {state.phase}"
    current = state.candidate or state.stable
    if command.verb not in _NAMES_TARGET and command.snapshot not in (None, current):
        return f"it was meant for {command.snapshot}, now it is {current}"
    if command.verb not in _NAMES_TARGET and command.step not in (None, state.step):
        return f"it was meant for step {command.step}, now it is {state.step}"
    return _REFUSALS[command.verb](look, state, command) if command.verb in _REFUSALS else ""


def _refuse_on(look: Look, state: RolloutState, _command: Command) -> str:
    """Refuse promote and resume where the spec says otherwise."""
    if state.phase != Phase.HELD and look.spec.rollout.paused:
        return "spec.rollout.paused is true; set it to false"
    if state.held_by == HeldBy.PIN:
        return f"spec.snapshots.pin is {look.spec.snapshots.pin}; remove it"
    return ""


def _refuse_abort(_look: Look, state: RolloutState, _command: Command) -> str:
    pinned = state.phase == Phase.ROLLING_BACK and state.held_by == HeldBy.PIN
    return "spec.snapshots.pin asks for it; change the pin" if pinned else ""


def _refuse_retry(look: Look, state: RolloutState, command: Command) -> str:
    snapshot = _retried(state, command)
    if snapshot is None:
        return "no snapshot is aborted"
    if state.aborted_reason(snapshot) is None:
        return f"{snapshot} is not aborted"
    return retry_refusal(look.spec, forget_abort(state, snapshot), look.seen, snapshot) or ""


def _refuse_rollback(look: Look, state: RolloutState, command: Command) -> str:
    target = _target(look, state, command)
    if look.spec.snapshots.pin is not None:
        return f"spec.snapshots.pin is {look.spec.snapshots.pin}; change the pin"
    if target is None:
        return "there is no earlier promoted snapshot"
    if target in (state.stable, state.target):
        return f"{target} is already stable or on its way; abort drops a candidate"
    return (
        "" if usable(look.spec, look.seen, target) else f"{target} is not listed, verified and past its gates"
    )


def _promote(look: Look, state: RolloutState, _command: Command) -> Moved:
    return moves.skip_step(look, state)


def _abort(look: Look, state: RolloutState, command: Command) -> Moved:
    reason = f"aborted by command {command.id}"
    if state.phase != Phase.ROLLING_BACK:
        return stops.abort(look, state, reason)
    return stops.hold(look, state, HeldBy.ROLLBACK, f"rollback to {state.target} {reason}")


def _retry(_look: Look, state: RolloutState, command: Command) -> Moved:
    snapshot = _retried(state, command) or ""
    after = change(forget_abort(state, snapshot), retried=snapshot)
    return after, normal("Retried", f"{snapshot} may roll again")


def _pause(look: Look, state: RolloutState, command: Command) -> Moved:
    return stops.pause(look, state, PausedBy.COMMAND, f"paused by command {command.id}")


def _resume(look: Look, state: RolloutState, command: Command) -> Moved:
    if state.phase == Phase.HELD:
        return stops.let_go(look, state, f"resumed by command {command.id}")
    return stops.resume(look, state)


def _rollback(look: Look, state: RolloutState, command: Command) -> Moved:
    target = _target(look, state, command) or ""
    return stops.go_back(look, state, target, HeldBy.ROLLBACK, f"rolled back by command {command.id}")


_EFFECTS: Final = {
    Verb.PROMOTE: _promote,
    Verb.ABORT: _abort,
    Verb.RETRY: _retry,
    Verb.PAUSE: _pause,
    Verb.RESUME: _resume,
    Verb.ROLLBACK: _rollback,
}

_REFUSALS: Final = {
    Verb.PROMOTE: _refuse_on,
    Verb.RESUME: _refuse_on,
    Verb.ABORT: _refuse_abort,
    Verb.RETRY: _refuse_retry,
    Verb.ROLLBACK: _refuse_rollback,
}


def _target(look: Look, state: RolloutState, command: Command) -> str | None:
    return command.snapshot or previous(state, look.seen)


def _retried(state: RolloutState, command: Command) -> str | None:
    return command.snapshot or (state.aborted[-1].id if state.aborted else None)


def _bounded(look: Look, consumed: tuple[str, ...]) -> tuple[str, ...]:
    """Return the newest consumed ids, and any older one that is still being shown."""
    shown = {command.id for command in look.seen.commands}
    older = tuple(each for each in consumed[:-CONSUMED_KEPT] if each in shown)
    return (*older, *consumed[-CONSUMED_KEPT:])
