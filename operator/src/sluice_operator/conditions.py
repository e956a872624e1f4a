"""The standard conditions of a RecommenderModel, from where its rollout stands. Pure."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from sluice_operator.rollout.state import ROLLING, RolloutState

MESSAGE_CHARACTERS = 2_000


class Problem(NamedTuple):
    """Why the spec is not followed by all: one word for programs, and sentences for people."""

    reason: str
    message: str


class Condition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One condition; ``last_transition_time`` is RFC 3339 in UTC."""

    type: str
    status: str
    reason: str
    message: str
    observed_generation: int
    last_transition_time: str = ""


def conditions(
    state: RolloutState,
    problem: Problem | None,
    generation: int,
    before: Iterable[Condition],
    now: str,
    outage: str = "",
) -> list[Condition]:
    """Return the conditions of a model whose spec of ``generation`` has a ``problem``.

    ``outage`` says why nothing can be decided now, if so.

    The time of one is ``now`` if its status is another than ``before``; other changes keep it.
    """
    return [
        _since(each, before, now)
        for each in (_ready(state, problem, generation), _rolling(state, generation, outage))
    ]


def _ready(state: RolloutState, problem: Problem | None, generation: int) -> Condition:
    """Whether users get recommendations of this spec: it is sound, handed to all services, and a snapshot is stable."""
    status, reason, message = "True", "Serving", f"{state.stable} serves"
    if problem is not None:
        status, (reason, message) = "False", problem
    elif state.stable is None:
        status, reason, message = "False", "NoSnapshot", state.message or "no snapshot is stable yet"
    return Condition(
        type="Ready",
        status=status,
        reason=reason,
        message=message[:MESSAGE_CHARACTERS],
        observed_generation=generation,
    )


def _rolling(state: RolloutState, generation: int, outage: str) -> Condition:
    """Whether a candidate is on its way."""
    status = "True" if state.phase in ROLLING else "False"
    return Condition(
        type="Progressing",
        status="Unknown" if outage else status,
        reason="StorageUnavailable" if outage else state.phase.value,
        message=(outage or state.message)[:MESSAGE_CHARACTERS],
        observed_generation=generation,
    )


def _since(condition: Condition, before: Iterable[Condition], now: str) -> Condition:
    same = (each for each in before if (each.type, each.status) == (condition.type, condition.status))
    since = next((each.last_transition_time for each in same if each.last_transition_time), now)
    return msgspec.structs.replace(condition, last_transition_time=since)


def read(document: Any) -> list[Condition]:
    """Return the conditions in a status; none if somebody wrote there what are none."""
    try:
        return msgspec.convert(document, list[Condition])
    except msgspec.ValidationError:
        return []
