"""The rollout as one pure function: ``step(spec, state, observation, now) -> (state, actions)``.

Nothing in this package does I/O, reads a clock or draws a random number. The legal moves are in ``table``, when
they happen in ``rules``, what they do in ``moves`` and ``stops``, what people may ask for in ``commands``, which
actions follow in ``levels``.

Theory of operation. Each pass first obeys new commands, then applies the first rule that the table allows and
that is true, again and again until none is. So a pass ends where nothing more follows from what is observed,
and a second pass at the same observation and time changes nothing. Between two rollouts everybody is
published on stable for ``rules.REST_S``. The epoch rises by one if the pass decided anything. Then the levels
(routing, wanted snapshots, replicas) are emitted whole, whatever was emitted before: missing a pass or an
event costs only time.
"""

from typing import Final

from sluice.model import ModelSpec
from sluice_operator.rollout.actions import Action
from sluice_operator.rollout.candidates import newest_eligible
from sluice_operator.rollout.change import Look, change, told
from sluice_operator.rollout.commands import steer
from sluice_operator.rollout.gates import measure_all
from sluice_operator.rollout.levels import levels
from sluice_operator.rollout.message import describe
from sluice_operator.rollout.observation import Observation
from sluice_operator.rollout.rules import first_true
from sluice_operator.rollout.state import ROLLING, Note, RolloutState, decided, on_this_clock
from sluice_operator.rollout.table import check

_MOST_MOVES: Final = 256
"""More moves than any pass can make (32 steps take at most 3 each); a bound in case of a defect."""


def step(
    spec: ModelSpec, state: RolloutState, observation: Observation, now: float
) -> tuple[RolloutState, tuple[Action, ...]]:
    """Decide one pass; ``now`` is Unix seconds. Returns the new state and the actions, routing first.

    The same observation and time again return the same state, with no note added, and the same actions.
    """
    look = Look(spec, observation, now)
    after, notes = steer(look, on_this_clock(state, now))
    after, more = _settle(look, after)
    after = _report(look, after)
    if decided(state, after):
        after = change(after, epoch=state.epoch + 1)
    after = told(look, after, (*notes, *more))
    return after, levels(look, after)


def _settle(look: Look, state: RolloutState) -> tuple[RolloutState, tuple[Note, ...]]:
    """Apply rules until none is true."""
    notes: list[Note] = []
    for _ in range(_MOST_MOVES):
        state = _measured(look, state)
        rule = first_true(look, state)
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
    return change(state, measurements=measurements)


def _report(look: Look, state: RolloutState) -> RolloutState:
    """Return the state with what only reports: what waits, and what is missing."""
    waiting = newest_eligible(look.spec, state, look.seen) if state.phase in ROLLING else None
    state = change(state, waiting=waiting)
    return change(state, message=describe(look, state))
