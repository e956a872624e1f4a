"""The standard conditions of a RecommenderModel, from where its rollout stands. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from sluice_operator.rollout.state import ROLLING, RolloutState

MESSAGE_CHARACTERS = 2_000


class Condition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One condition; ``last_transition_time`` is RFC 3339 in UTC."""

    type: str
    status: str
    reason: str
    message: str
    observed_generation: int
    last_transition_time: str = ""


def conditions(
    state: RolloutState, problems: Sequence[str], generation: int, before: Iterable[Condition], now: str
) -> list[Condition]:
    """Return the conditions of a model whose spec of ``generation`` has ``problems``.

    The time of one is ``now`` if its status is another than ``before``; other changes keep it.
    """
    return [
        _since(each, before, now)
        for each in (_ready(state, problems, generation), _rolling(state, generation))
    ]


def _ready(state: RolloutState, problems: Sequence[str], generation: int) -> Condition:
    """Whether users get recommendations of this spec: it is sound and a snapshot is stable."""
    status, reason, message = "True", "Serving", f"{state.stable} serves"
    if problems:
        status, reason = "False", "InvalidSpec"
        message = f"{'; '.join(problems)}. Until then the last good spec is in force."
    elif state.stable is None:
        status, reason, message = "False", "NoSnapshot", state.message or "no snapshot is stable yet"
    return Condition(
        type="Ready",
        status=status,
        reason=reason,
        message=message[:MESSAGE_CHARACTERS],
        observed_generation=generation,
    )


def _rolling(state: RolloutState, generation: int) -> Condition:
    """Whether a candidate is on its way."""
    return Condition(
        type="Progressing",
        status="True" if state.phase in ROLLING else "False",
        reason=state.phase.value,
        message=state.message[:MESSAGE_CHARACTERS],
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
