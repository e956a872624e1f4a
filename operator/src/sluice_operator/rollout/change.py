"""Shared by all moves: what a pass looks at, notes, and the few changes of state that several moves make."""

import zlib
from typing import Any, NamedTuple

import msgspec

from sluice.model import ModelSpec, Step
from sluice_operator.rollout.observation import Observation
from sluice_operator.rollout.state import (
    ABORTED_KEPT,
    MESSAGE_CHARACTERS,
    NOTES_KEPT,
    PROMOTED_KEPT,
    Aborted,
    Note,
    NoteType,
    Phase,
    RolloutState,
)


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
    return Note(type=NoteType.NORMAL, reason=reason, message=message[:MESSAGE_CHARACTERS])


def warning(reason: str, message: str) -> Note:
    """Return a note that a person should read."""
    return Note(type=NoteType.WARNING, reason=reason, message=message[:MESSAGE_CHARACTERS])


def change(state: RolloutState, **fields: Any) -> RolloutState:
    """Return the state with some fields replaced."""
    return msgspec.structs.replace(state, **fields)


def told(look: Look, state: RolloutState, notes: tuple[Note, ...]) -> RolloutState:
    """Return the state with this pass's notes added and numbered on; the oldest of earlier passes are dropped."""
    last = state.notes[-1].number if state.notes else 0
    numbered = [
        msgspec.structs.replace(note, number=last + place, epoch=state.epoch, at=look.now)
        for place, note in enumerate(notes, start=1)
    ]
    return change(state, notes=(*state.notes[-NOTES_KEPT:], *numbered)) if notes else state


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


def forget_abort(state: RolloutState, snapshot: str) -> RolloutState:
    """Return the state with a snapshot no longer aborted."""
    return change(state, aborted=tuple(entry for entry in state.aborted if entry.id != snapshot))


def where(look: Look, state: RolloutState) -> str:
    """Return the current step in words."""
    return step_name(look.steps, state.step)


def to_step(look: Look, state: RolloutState, step: int) -> RolloutState:
    """Return the state at the beginning of a step, no longer paused. The first snapshot has no steps."""
    return change(
        state,
        phase=Phase.PROGRESSING,
        step=step if state.stable is not None else len(look.steps),
        step_started_at=look.now,
        pods_awaited_since=None,
        paused_by=None,
        paused_reason="",
    )


def given(look: Look, state: RolloutState, weight: int, granted: int) -> dict[str, Any]:
    """Return the fields that say which weight was given, to how many pods, when and by which decision.

    A pass raises the epoch by exactly one if it decides anything, so this decision's is known already.
    """
    return {
        "weight": weight,
        "weight_epoch": state.epoch + 1,
        "canary_granted": granted,
        "weight_started_at": look.now,
    }


def reset_weight(look: Look, state: RolloutState) -> RolloutState:
    """Return the state with everyone on stable."""
    return change(state, **given(look, state, 0, 0))


def ended(look: Look, state: RolloutState) -> RolloutState:
    """Return the state with nothing rolling and nobody on a candidate; the caller sets the phase."""
    return change(
        state,
        rollout="",
        candidate=None,
        target=None,
        step=0,
        weight=0,
        weight_epoch=0,
        canary_granted=0,
        paused_by=None,
        paused_reason="",
        rollout_started_at=None,
        rollout_ended_at=look.now,
        step_started_at=None,
        weight_started_at=None,
        pods_awaited_since=None,
    )


def idle(look: Look, state: RolloutState) -> RolloutState:
    """Return the state with nothing rolling, nothing held: Stable, or Waiting without a stable snapshot."""
    phase = Phase.STABLE if state.stable is not None else Phase.WAITING
    return change(ended(look, state), phase=phase, held_by=None, held_reason="")


def promoted_with(state: RolloutState, snapshot: str | None) -> tuple[str, ...]:
    """Return the promoted snapshots, newest first, with this one in front; bounded."""
    earlier = tuple(each for each in state.promoted if each != snapshot)
    return (snapshot or "", *earlier)[:PROMOTED_KEPT]


def rejected(look: Look, state: RolloutState, snapshot: str | None, reason: str) -> RolloutState:
    """Return the state with a snapshot among the aborted ones; the oldest are forgotten."""
    if snapshot is None:
        return state
    entry = Aborted(id=snapshot, reason=reason[:500], at=look.now)
    others = tuple(each for each in state.aborted if each.id != snapshot)
    return change(state, aborted=(*others, entry)[-ABORTED_KEPT:])
