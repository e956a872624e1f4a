"""What the rollout remembers between two passes. It becomes the resource's ``status.rollout`` as JSON.

Only what cannot be observed again lives here; everything else is read anew each pass. Times are Unix
seconds, weights percent in [0, 100]. All collections are bounded, so that the status stays small.
"""

from enum import StrEnum
from typing import Final

import msgspec

PROMOTED_KEPT: Final = 4
"""Stable and the last three promoted before it."""

ABORTED_KEPT: Final = 20
CONSUMED_KEPT: Final = 32

NOTES_KEPT: Final = 32
"""Notes kept besides those of the pass itself."""

MESSAGE_CHARACTERS: Final = 1000
"""Of a note or a sentence for people; Kubernetes' Events take 1,024 bytes of mostly ASCII."""


class Phase(StrEnum):
    """Where the rollout stands; :mod:`sluice_operator.rollout.table` says what may follow what."""

    WAITING = "Waiting"  # no stable snapshot and no candidate yet
    STABLE = "Stable"  # stable serves everyone, nothing is rolling
    BLOCKED = "Blocked"  # a stable pod lacks the memory to hold the candidate one day
    PREPARING = "Preparing"  # canary pods are scaled and load the candidate; no new weight before that
    PROGRESSING = "Progressing"  # in a step
    PAUSED = "Paused"  # kept where it is by a verb, by spec.rollout.paused or by a gate
    PROMOTING = "Promoting"  # every stable pod loads the candidate beside the current one
    ROLLING_BACK = "RollingBack"  # stable pods load an earlier snapshot (rollback or pin)
    HELD = "Held"  # stable serves everyone and nothing starts: after a rollback, or pinned


ROLLING: Final = frozenset({Phase.BLOCKED, Phase.PREPARING, Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTING})
"""The phases that have a candidate."""


class PausedBy(StrEnum):
    """Who paused: a spec pause ends with the spec, the others by ``resume`` or ``promote``."""

    COMMAND = "Command"
    SPEC = "Spec"
    GATE = "Gate"


class HeldBy(StrEnum):
    """Why nothing starts: a rollback holds until ``resume``, a pin until it leaves the spec."""

    ROLLBACK = "Rollback"
    PIN = "Pin"


class Verdict(StrEnum):
    """What the evidence says about a gate."""

    PASS = "Pass"  # noqa: S105 - a verdict, not a secret
    FAIL = "Fail"
    INCONCLUSIVE = "Inconclusive"  # not enough evidence yet
    ERROR = "Error"  # evidence missing or stale, or the gate cannot be measured


class _State(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base: frozen, camelCase in JSON."""


class Measurement(_State, frozen=True, kw_only=True):
    """One gate's verdict and its numbers.

    ``value`` with bounds ``lower`` and ``upper`` is compared with ``threshold``: a difference (candidate −
    reference) for ``compareTo`` Stable and Popular, a share in [0, 1] of bad requests for errorRate and
    p99Milliseconds, else the metric itself. None = not known (yet). ``missing_samples`` estimates how many
    more samples would decide, ``missing_s`` how long that takes at the present pace.
    """

    gate: str
    verdict: Verdict
    reason: str
    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    threshold: float | None = None
    samples: int = 0
    missing_samples: int | None = None
    missing_s: float | None = None
    dry_run: bool = False


class Aborted(_State, frozen=True, kw_only=True):
    """A snapshot that is never tried again by itself, only after ``retry``."""

    id: str
    reason: str
    at: float


class NoteType(StrEnum):
    """Kubernetes' two types of Event."""

    NORMAL = "Normal"
    WARNING = "Warning"


class Note(_State, frozen=True, kw_only=True):
    """One decision told to people: an Event and a log line. ``reason`` is CamelCase, ``message`` has the numbers.

    ``number`` counts a model's notes from 1 and makes recording a note again harmless; ``at`` is Unix
    seconds, ``epoch`` that of the decision.
    """

    type: NoteType
    reason: str
    message: str
    number: int = 0
    epoch: int = 0
    at: float = 0.0


class RolloutState(_State, frozen=True, kw_only=True):
    """Everything the rollout remembers.

    ``epoch`` rises by one with every pass that decides something (see :data:`DECISION`). ``promoted`` is
    newest first and begins with stable. ``step`` is the index of the current step; equal to the number of
    steps once all are done. ``weight_epoch`` is the epoch of the decision that gave the present weight (an
    equal one given anew is another), ``canary_granted`` how many canary pods were ready for it.
    ``pods_awaited_since`` is set only while pods are waited for, ``rollout`` is empty unless a
    candidate rolls. ``retried`` is an aborted snapshot that a person wants tried again although newer ones
    were decided about since. ``notes`` are the latest, oldest first: written down with the decision they
    tell of, so that a process that dies before it told them leaves them to the next one.
    """

    epoch: int = 0
    phase: Phase = Phase.WAITING
    message: str = ""
    rollout: str = ""
    stable: str | None = None
    candidate: str | None = None
    target: str | None = None
    waiting: str | None = None
    retried: str | None = None
    step: int = 0
    weight: int = 0
    weight_epoch: int = 0
    canary_granted: int = 0
    paused_by: PausedBy | None = None
    paused_reason: str = ""
    held_by: HeldBy | None = None
    held_reason: str = ""
    rollout_started_at: float | None = None
    rollout_ended_at: float | None = None
    step_started_at: float | None = None
    weight_started_at: float | None = None
    pods_awaited_since: float | None = None
    measurements: tuple[Measurement, ...] = ()
    promoted: tuple[str, ...] = ()
    aborted: tuple[Aborted, ...] = ()
    last_promotion: dict[str, float] = {}
    consumed: tuple[str, ...] = ()
    spec_hash: str = ""
    steps_hash: int = 0
    notes: tuple[Note, ...] = ()

    def aborted_reason(self, snapshot: str) -> str | None:
        """Return why a snapshot was aborted; None if it was not."""
        return next((entry.reason for entry in self.aborted if entry.id == snapshot), None)


DECISION: Final = ("phase", "step", "weight", "weight_epoch", "stable", "candidate", "target", "held_by")
"""The fields whose change is a decision and raises the epoch; the others only report or count."""


def decided(before: RolloutState, after: RolloutState) -> bool:
    """Return whether a pass made a decision."""
    return any(getattr(before, name) != getattr(after, name) for name in DECISION)


_TIMES: Final = (
    "rollout_started_at",
    "rollout_ended_at",
    "step_started_at",
    "weight_started_at",
    "pods_awaited_since",
)


def on_this_clock(state: RolloutState, now: float) -> RolloutState:
    """Return the state with no time that is still to come.

    After a clock was set back, what began "later" began now: its timer starts anew, instead of standing still
    for as long as the clock was set back.
    """
    ahead = [name for name in _TIMES if (getattr(state, name) or 0.0) > now]
    return msgspec.structs.replace(state, **dict.fromkeys(ahead, now)) if ahead else state


def elapsed(since: float | None, now: float) -> float:
    """Return the seconds since a moment, never negative; 0 if it was never set."""
    return max(0.0, now - since) if since is not None else 0.0
