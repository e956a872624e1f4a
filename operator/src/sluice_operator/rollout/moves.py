"""A candidate's way forward: what each move does to the state, and the note that tells people.

Pure; nobody here decides *when*. Every function takes the :class:`Look` of this pass and the state before.
"""

from typing import Final

from sluice_operator.rollout.candidates import newer_than, newest_eligible
from sluice_operator.rollout.change import (
    Look,
    Moved,
    change,
    ended,
    given,
    normal,
    promoted_with,
    reset_weight,
    steps_hash,
    to_step,
    warning,
    where,
)
from sluice_operator.rollout.pods import canary_needed, lagging, missing_bytes, weight_at
from sluice_operator.rollout.state import Phase, RolloutState

RECORDED_FROM: Final = 100
"""A promotion records a metric for later LastPromotion gates only from so many paired events."""


def start(look: Look, state: RolloutState) -> Moved:
    """Begin to roll the newest eligible snapshot; the very first one skips the steps."""
    candidate, first = newest_eligible(look.spec, state, look.seen), state.stable is None
    started = change(
        state,
        phase=Phase.PROMOTING if first else Phase.PROGRESSING,
        rollout=f"{candidate}-{state.epoch + 1}",
        candidate=candidate,
        retried=None,
        step=len(look.steps) if first else 0,
        rollout_started_at=look.now,
        step_started_at=look.now,
        **given(look, state, 0, 0),
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
        reset_weight(look, state),
        phase=state.phase if state.phase == Phase.PAUSED else Phase.PROGRESSING,
        step=0,
        step_started_at=look.now,
        pods_awaited_since=None,
        steps_hash=steps_hash(look.steps),
    )
    return fresh, normal(
        "StepsChanged", f"the steps were edited: {state.candidate} starts them anew at weight 0"
    )


def next_step(look: Look, state: RolloutState) -> Moved:
    """Go on to the next step."""
    return to_step(look, state, state.step + 1), normal("StepDone", f"{where(look, state)} done")


def skip_step(look: Look, state: RolloutState) -> Moved:
    """Go on although the step is not done or the rollout is paused, because a person said so."""
    after = to_step(look, state, min(state.step + 1, len(look.steps)))
    return after, normal("StepSkipped", f"{where(look, state)} skipped by promote")


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
        **given(look, state, weight, canary_needed(look.seen.fleet.stable.desired, weight)),
        step_started_at=look.now,
        pods_awaited_since=None,
    )
    return after, normal("WeightSet", f"{state.candidate} gets weight {weight} (was {state.weight})")


def lose_pods(look: Look, state: RolloutState) -> Moved:
    """Take the weight away until the canary pods are ready again; a pause or promotion goes on without it."""
    waits = state.phase in (Phase.PROGRESSING, Phase.PREPARING)
    since = state.pods_awaited_since if state.pods_awaited_since is not None or not waits else look.now
    after = change(
        reset_weight(look, state),
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
    """Name the candidate stable: one routing write. A snapshot wanted again that is older is overtaken."""
    overtaken = state.retried is not None and not newer_than(look.seen, state.retried, state.candidate)
    after = change(
        ended(look, state),
        phase=Phase.STABLE,
        stable=state.candidate,
        retried=None if overtaken else state.retried,
        promoted=promoted_with(state, state.candidate),
        last_promotion={**state.last_promotion, **_means(look, state)},
    )
    words = f"{state.candidate} is stable, {state.stable or 'nothing'} was before"
    return after, normal(
        "Promoted", words + (f"; {state.retried} is older and rolls no more" if overtaken else "")
    )


def _means(look: Look, state: RolloutState) -> dict[str, float]:
    if look.seen.evidence_rollout != state.rollout:
        return {}
    paired = look.seen.evidence.paired
    return {name: sums.candidate / sums.n for name, sums in paired.items() if sums.n >= RECORDED_FROM}
