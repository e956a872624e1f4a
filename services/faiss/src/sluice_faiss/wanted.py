"""Which snapshots are wanted, which are held, what to do about the difference. Pure.

A pod holds a *set*. What is wanted and not held is loaded; what is held and not wanted leaves, except when
nothing wanted serves yet: then the last good set stays.
"""

import re
from collections.abc import Iterable, Mapping, Set
from typing import Final

import msgspec

MAX_WANTED: Final = 16
FIRST_RETRY_S: Final = 0.5
LONGEST_RETRY_S: Final = 30.0
_ID: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Wanted(msgspec.Struct, frozen=True):
    """The ids asked for, in order and without repetition, and the words that are no snapshot ids."""

    ids: tuple[str, ...] = ()
    unusable: tuple[str, ...] = ()


def parse(text: str) -> Wanted:
    """Read a JSON list of ids, or ids separated by commas or whitespace; raises ValueError for broken JSON."""
    text = text.strip()
    words = msgspec.json.decode(text, type=list[str]) if text.startswith("[") else re.split(r"[,\s]+", text)
    distinct = dict.fromkeys(word for word in words if word)
    ids = [word for word in distinct if _ID.fullmatch(word)]
    unusable = [word[:80] for word in distinct if not _ID.fullmatch(word)]
    return Wanted(tuple(ids[:MAX_WANTED]), tuple(unusable + ids[MAX_WANTED:]))


class Refusal(msgspec.Struct, frozen=True):
    """Why a wanted snapshot is not served, how often it was tried, when it is tried again."""

    reason: str
    attempts: int
    retry_at: float


def refusal(previous: Refusal | None, reason: str, now: float) -> Refusal:
    """Return the refusal after one more failure; the wait doubles from 0.5 s up to 30 s."""
    attempts = previous.attempts + 1 if previous else 1
    wait = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2 ** min(attempts - 1, 16))
    return Refusal(reason, attempts, now + wait)


def to_load(wanted: Wanted, held: Set[str], refused: Mapping[str, Refusal], now: float) -> list[str]:
    """Return what to try now, in the order it is wanted."""
    missing = [snapshot for snapshot in wanted.ids if snapshot not in held]
    return [each for each in missing if each not in refused or refused[each].retry_at <= now]


def to_drop(wanted: Wanted, held: Set[str]) -> set[str]:
    """Return what leaves: nothing while something is wanted and none of it is held."""
    unwanted = set(held) - set(wanted.ids)
    return unwanted if not wanted.ids or set(held) & set(wanted.ids) else set()


class LoadedSnapshot(msgspec.Struct, frozen=True):
    """One snapshot that serves; ``bytes`` of its files, ``digest`` of its manifest."""

    id: str
    digest: str
    rows: int
    bytes: int


class RefusedSnapshot(msgspec.Struct, frozen=True):
    """One that does not, and why."""

    id: str
    reason: str


class WorkerState(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker wants, serves and refuses."""

    wanted: tuple[str, ...] = ()
    loaded: tuple[LoadedSnapshot, ...] = ()
    refused: tuple[RefusedSnapshot, ...] = ()


def together(states: Iterable[WorkerState], workers: int) -> WorkerState:
    """Return what the whole pod can promise: loaded only what *every* one of its ``workers`` has loaded."""
    states = list(states)
    if not states:
        return WorkerState()
    everywhere = (
        set.intersection(*(set(state.loaded) for state in states)) if len(states) >= workers else set()
    )
    refused = {each.id: each for state in states for each in state.refused}
    return WorkerState(
        wanted=max((state.wanted for state in states), key=len),
        loaded=tuple(sorted(everywhere, key=lambda each: each.id)),
        refused=tuple(refused.values()),
    )


def not_ready(state: WorkerState) -> str | None:
    """Return why the pod is not ready; None if everything wanted serves."""
    missing = set(state.wanted) - {each.id for each in state.loaded}
    if not missing:
        return None
    reasons = {each.id: each.reason for each in state.refused}
    named = "; ".join(f"{each}: {reasons.get(each, 'still loading')}" for each in sorted(missing))
    return f"not every wanted snapshot serves: {named}"
