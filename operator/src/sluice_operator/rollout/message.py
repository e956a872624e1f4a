"""One sentence on where the rollout stands and what it waits for: ``status.rollout.message``."""

from collections.abc import Callable
from typing import Final

from sluice.model import GateStep, seconds
from sluice_operator.rollout import pods
from sluice_operator.rollout.candidates import refusal_of_newest
from sluice_operator.rollout.change import Look, where
from sluice_operator.rollout.gates import needs, undecided
from sluice_operator.rollout.readings import paired_events
from sluice_operator.rollout.state import MESSAGE_CHARACTERS, Phase, RolloutState, elapsed


def describe(look: Look, state: RolloutState) -> str:
    """Return the sentence for people, at most ``MESSAGE_CHARACTERS``."""
    return _SENTENCES[state.phase](look, state)[:MESSAGE_CHARACTERS]


def _waiting(look: Look, state: RolloutState) -> str:
    return "waits for a first snapshot" + _newest(look, state)


def _stable(look: Look, state: RolloutState) -> str:
    paused = "; spec.rollout.paused keeps new ones from starting" if look.spec.rollout.paused else ""
    return f"{state.stable} serves all" + _newest(look, state) + paused


def _newest(look: Look, state: RolloutState) -> str:
    refusal = refusal_of_newest(look.spec, state, look.seen)
    return f"; {refusal}" if refusal else ""


def _blocked(look: Look, state: RolloutState) -> str:
    return f"{pods.missing_bytes(state, look.seen)} bytes are missing on a stable pod for {state.candidate}"


def _preparing(look: Look, state: RolloutState) -> str:
    late = pods.lagging(look.seen.fleet.canary, state.candidate)
    return f"{where(look, state)}: waits for canary pods ({late}){_deadline(look, state)}"


def _promoting(look: Look, state: RolloutState) -> str:
    late = pods.lagging(look.seen.fleet.stable, state.candidate)
    return f"stable pods load {state.candidate} ({late}){_deadline(look, state)}"


def _deadline(look: Look, state: RolloutState) -> str:
    left = seconds(look.spec.rollout.progress_deadline) - elapsed(state.pods_awaited_since, look.now)
    return f", {max(left, 0.0):.0f} s left"


def _paused(look: Look, state: RolloutState) -> str:
    return f"paused at {where(look, state)}, weight {state.weight}: {state.paused_reason}"


def _rolling_back(look: Look, state: RolloutState) -> str:
    return f"ready stable pods load {state.target} ({pods.lagging(look.seen.fleet.stable, state.target)})"


def _held(_look: Look, state: RolloutState) -> str:
    return f"{state.stable} serves all, held: {state.held_reason}"


def _progressing(look: Look, state: RolloutState) -> str:
    if state.step >= len(look.steps):
        return where(look, state)
    it = look.steps[state.step]
    missing = ""
    if it.shadow is not None:
        missing = _shadow_missing(look, state, it.shadow.events)
    elif it.pause is not None and it.pause.duration is not None:
        left = seconds(it.pause.duration) - elapsed(state.step_started_at, look.now)
        missing = f"{max(left, 0.0):.0f} s left"
    elif it.pause is not None:
        missing = "waits for promote"
    elif it.gate is not None:
        missing = _gates_missing(look, state, it.gate)
    return f"{where(look, state)}: {missing}"


def _shadow_missing(look: Look, state: RolloutState, events: int) -> str:
    have = paired_events(state, look.seen)
    running = elapsed(state.rollout_started_at, look.now)
    missing = max(events - have, 0)
    pace = missing * running / have if have and running else None
    return needs(missing, pace)


def _gates_missing(look: Look, state: RolloutState, gate: GateStep) -> str:
    waits = undecided(gate, state.measurements)
    left = seconds(gate.timeout) - elapsed(state.step_started_at, look.now)
    words = "; ".join(f"{each.gate} {each.verdict} ({each.reason})" for each in waits)
    return f"{words}; {max(left, 0.0):.0f} s left"


_SENTENCES: Final[dict[Phase, Callable[[Look, RolloutState], str]]] = {
    Phase.WAITING: _waiting,
    Phase.STABLE: _stable,
    Phase.BLOCKED: _blocked,
    Phase.PREPARING: _preparing,
    Phase.PROGRESSING: _progressing,
    Phase.PAUSED: _paused,
    Phase.PROMOTING: _promoting,
    Phase.ROLLING_BACK: _rolling_back,
    Phase.HELD: _held,
}
