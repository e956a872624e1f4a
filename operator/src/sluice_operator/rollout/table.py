"""The transition table: every move a rollout can make. What is not here cannot happen.

What may live here: phases, events, and which phase an event may lead to from which. What may not: when an
event happens (:mod:`sluice_operator.rollout.step`), what a verb needs (``commands``), what a move does
(``moves``). Where a row names several phases, what is observed picks one; :func:`check` refuses any other.

No phase is terminal, since a model is served until it is deleted; a phase without a row for a verb ignores it.
"""

from enum import StrEnum
from typing import Final

from sluice_operator.rollout.state import Phase, RolloutState


class Event(StrEnum):
    """What may happen. Lower case: a person asked for it; upper case: it was observed."""

    PROMOTE = "promote"
    ABORT = "abort"
    RETRY = "retry"
    PAUSE = "pause"
    RESUME = "resume"
    ROLLBACK = "rollback"

    PINNED_ELSEWHERE = "PinnedElsewhere"  # spec.snapshots.pin names a usable snapshot that is not stable
    PINNED_HERE = "PinnedHere"  # it names stable, or one that cannot be used: stay
    UNPINNED = "Unpinned"
    TARGET_GONE = "TargetGone"  # the snapshot to go back to is no longer usable
    ROLLED_BACK = "RolledBack"  # the ready stable pods hold it
    CANDIDATE_GONE = "CandidateGone"  # the catalog no longer lists the candidate
    SPEC_CHANGED = "SpecChanged"  # the candidate was cut under another spec
    STEPS_CHANGED = "StepsChanged"
    GATE_FAILED = "GateFailed"
    GATE_TIMED_OUT = "GateTimedOut"
    SPEC_PAUSED = "SpecPaused"
    SPEC_RESUMED = "SpecResumed"
    PODS_LOST = "PodsLost"  # canary pods no longer carry the weight
    PODS_AWAITED = "PodsAwaited"  # the step's weight needs canary pods that are not ready
    PODS_LATE = "PodsLate"  # progressDeadline has passed
    NO_ROOM = "NoRoom"
    ROOM = "Room"
    WEIGHT_SET = "WeightSet"
    STEP_DONE = "StepDone"
    STEPS_DONE = "StepsDone"
    PROMOTED = "Promoted"  # every stable pod holds the candidate
    CANDIDATE_FOUND = "CandidateFound"


_IDLE: Final = (Phase.STABLE, Phase.WAITING)  # whichever has a stable snapshot or not
_BACK: Final = (Phase.HELD, Phase.WAITING)

TABLE: Final[dict[Phase, dict[Event, tuple[Phase, ...]]]] = {
    Phase.WAITING: {
        Event.RETRY: (Phase.WAITING,),
        Event.PINNED_ELSEWHERE: (Phase.ROLLING_BACK,),
        Event.CANDIDATE_FOUND: (Phase.PROMOTING,),
    },
    Phase.STABLE: {
        Event.RETRY: (Phase.STABLE,),
        Event.ROLLBACK: (Phase.ROLLING_BACK,),
        Event.PINNED_ELSEWHERE: (Phase.ROLLING_BACK,),
        Event.PINNED_HERE: (Phase.HELD,),
        Event.CANDIDATE_FOUND: (Phase.PROGRESSING,),
    },
    Phase.PROGRESSING: {
        Event.PROMOTE: (Phase.PROGRESSING,),
        Event.ABORT: _IDLE,
        Event.RETRY: (Phase.PROGRESSING,),
        Event.PAUSE: (Phase.PAUSED,),
        Event.ROLLBACK: (Phase.ROLLING_BACK,),
        Event.PINNED_ELSEWHERE: (Phase.ROLLING_BACK,),
        Event.PINNED_HERE: (Phase.HELD,),
        Event.CANDIDATE_GONE: _IDLE,
        Event.SPEC_CHANGED: _IDLE,
        Event.GATE_FAILED: (*_IDLE, Phase.PAUSED),
        Event.PODS_LOST: (Phase.PREPARING,),
        Event.STEPS_CHANGED: (Phase.PROGRESSING,),
        Event.SPEC_PAUSED: (Phase.PAUSED,),
        Event.GATE_TIMED_OUT: (*_IDLE, Phase.PAUSED, Phase.PROGRESSING),
        Event.NO_ROOM: (Phase.BLOCKED,),
        Event.WEIGHT_SET: (Phase.PROGRESSING,),
        Event.PODS_AWAITED: (Phase.PREPARING,),
        Event.STEP_DONE: (Phase.PROGRESSING,),
        Event.STEPS_DONE: (Phase.PROMOTING,),
    },
    Phase.BLOCKED: {
        Event.ABORT: _IDLE,
        Event.RETRY: (Phase.BLOCKED,),
        Event.PAUSE: (Phase.PAUSED,),
        Event.ROLLBACK: (Phase.ROLLING_BACK,),
        Event.PINNED_ELSEWHERE: (Phase.ROLLING_BACK,),
        Event.PINNED_HERE: (Phase.HELD,),
        Event.CANDIDATE_GONE: _IDLE,
        Event.SPEC_CHANGED: _IDLE,
        Event.GATE_FAILED: (*_IDLE, Phase.PAUSED),
        Event.PODS_LOST: (Phase.BLOCKED,),
        Event.STEPS_CHANGED: (Phase.PROGRESSING,),
        Event.SPEC_PAUSED: (Phase.PAUSED,),
        Event.ROOM: (Phase.PROGRESSING,),
    },
    Phase.PREPARING: {
        Event.ABORT: _IDLE,
        Event.RETRY: (Phase.PREPARING,),
        Event.PAUSE: (Phase.PAUSED,),
        Event.ROLLBACK: (Phase.ROLLING_BACK,),
        Event.PINNED_ELSEWHERE: (Phase.ROLLING_BACK,),
        Event.PINNED_HERE: (Phase.HELD,),
        Event.CANDIDATE_GONE: _IDLE,
        Event.SPEC_CHANGED: _IDLE,
        Event.GATE_FAILED: (*_IDLE, Phase.PAUSED),
        Event.PODS_LOST: (Phase.PREPARING,),
        Event.STEPS_CHANGED: (Phase.PROGRESSING,),
        Event.SPEC_PAUSED: (Phase.PAUSED,),
        Event.WEIGHT_SET: (Phase.PROGRESSING,),
        Event.PODS_LATE: _IDLE,
    },
    Phase.PAUSED: {
        Event.PROMOTE: (Phase.PROGRESSING,),
        Event.ABORT: _IDLE,
        Event.RETRY: (Phase.PAUSED,),
        Event.RESUME: (Phase.PROGRESSING,),
        Event.ROLLBACK: (Phase.ROLLING_BACK,),
        Event.PINNED_ELSEWHERE: (Phase.ROLLING_BACK,),
        Event.PINNED_HERE: (Phase.HELD,),
        Event.CANDIDATE_GONE: _IDLE,
        Event.SPEC_CHANGED: _IDLE,
        Event.GATE_FAILED: _IDLE,
        Event.PODS_LOST: (Phase.PAUSED,),
        Event.STEPS_CHANGED: (Phase.PAUSED,),
        Event.SPEC_RESUMED: (Phase.PROGRESSING,),
    },
    Phase.PROMOTING: {
        Event.ABORT: _IDLE,
        Event.RETRY: (Phase.PROMOTING,),
        Event.PAUSE: (Phase.PAUSED,),
        Event.ROLLBACK: (Phase.ROLLING_BACK,),
        Event.PINNED_ELSEWHERE: (Phase.ROLLING_BACK,),
        Event.PINNED_HERE: (Phase.HELD,),
        Event.CANDIDATE_GONE: _IDLE,
        Event.SPEC_CHANGED: _IDLE,
        Event.GATE_FAILED: _IDLE,
        Event.PODS_LOST: (Phase.PROMOTING,),
        Event.STEPS_CHANGED: (Phase.PROGRESSING,),
        Event.SPEC_PAUSED: (Phase.PAUSED,),
        Event.PROMOTED: (Phase.STABLE,),
        Event.PODS_LATE: _IDLE,
    },
    Phase.ROLLING_BACK: {
        Event.ABORT: (Phase.HELD,),
        Event.RETRY: (Phase.ROLLING_BACK,),
        Event.ROLLBACK: (Phase.ROLLING_BACK,),
        Event.PINNED_ELSEWHERE: (Phase.ROLLING_BACK,),
        Event.PINNED_HERE: (Phase.HELD,),
        Event.UNPINNED: _IDLE,
        Event.TARGET_GONE: _BACK,
        Event.ROLLED_BACK: (Phase.HELD,),
    },
    Phase.HELD: {
        Event.RETRY: (Phase.HELD,),
        Event.RESUME: (Phase.STABLE,),
        Event.ROLLBACK: (Phase.ROLLING_BACK,),
        Event.PINNED_ELSEWHERE: (Phase.ROLLING_BACK,),
        Event.UNPINNED: (Phase.STABLE,),
    },
}


class IllegalMove(Exception):
    """A move that the table does not allow: a defect in this package, never in what was observed."""


def check(event: Event, before: RolloutState, after: RolloutState) -> RolloutState:
    """Return ``after`` if the table allows the move, else raise :class:`IllegalMove`."""
    if after.phase not in TABLE[before.phase].get(event, ()):
        raise IllegalMove(f"{event} may not lead from {before.phase} to {after.phase}")
    return after
