"""Which snapshots are wanted, which are held, what to do about the difference. Pure.

A pod holds a *set*. What is wanted and not held is loaded; what is held and not wanted leaves, except when
nothing wanted serves yet: then the last good set stays.
"""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from math import inf
from typing import Final

import msgspec

from sluice.overlay import OverlayState

MAX_WANTED: Final = 16
FIRST_RETRY_S: Final = 0.5
LONGEST_RETRY_S: Final = 30.0
_ID: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Wanted(msgspec.Struct, frozen=True):
    """The ids asked for, in order and without repetition, and the words that are no snapshot ids.

    ``at`` is when they were written down, Unix seconds.
    """

    ids: tuple[str, ...] = ()
    unusable: tuple[str, ...] = ()
    at: float = 0.0


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


def at_once(refused: Refusal) -> Refusal:
    """Return the refusal with its next try now: something else has left, so there may be room."""
    return msgspec.structs.replace(refused, retry_at=-inf)


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
    """What one worker wants (as written ``wanted_at``), serves and refuses."""

    wanted: tuple[str, ...] = ()
    wanted_at: float = 0.0
    loaded: tuple[LoadedSnapshot, ...] = ()
    refused: tuple[RefusedSnapshot, ...] = ()
    overlay: OverlayState = OverlayState()


def together(states: Iterable[WorkerState], workers: int) -> WorkerState:
    """Return what the whole pod can promise: loaded only what *every* one of its ``workers`` has loaded.

    Wanted is the newest list that any of them has seen: the others look a moment later.
    """
    states = list(states)
    if not states:
        return WorkerState()
    newest = max(states, key=lambda state: state.wanted_at)
    everywhere = (
        set.intersection(*(set(state.loaded) for state in states)) if len(states) >= workers else set()
    )
    refused = {each.id: each for state in states for each in state.refused}
    return WorkerState(
        wanted=newest.wanted,
        wanted_at=newest.wanted_at,
        loaded=tuple(sorted(everywhere, key=lambda each: each.id)),
        refused=tuple(refused.values()),
        overlay=_least([state.overlay for state in states], workers),
    )


def _least(overlays: Sequence[OverlayState], workers: int) -> OverlayState:
    """Return how far every worker's overlay has come."""
    partitions = sorted(set().union(*(each.position for each in overlays)))
    return OverlayState(
        position={name: min(each.position.get(name, 0) for each in overlays) for name in partitions},
        items=min(each.items for each in overlays),
        refused=max(each.refused for each in overlays),
        lag=max(each.lag for each in overlays),
        caught_up=len(overlays) >= workers and all(each.caught_up for each in overlays),
    )


def not_serving(state: WorkerState) -> str | None:
    """Return why searches should go elsewhere; None if something wanted serves, or nothing is wanted.

    While a pod that serves loads one more snapshot, or refuses it, it is not ready by :func:`not_ready`, but it serves.
    """
    wanted = set(state.wanted)
    serves = not wanted or bool(wanted & {each.id for each in state.loaded})
    return None if serves and state.overlay.caught_up else not_ready(state)


def not_ready(state: WorkerState) -> str | None:
    """Return why the pod is not ready; None if everything wanted serves and the overlay is live."""
    if not state.overlay.caught_up:
        return f"the overlay is reading the items topic: {state.overlay.items} items known so far"
    missing = set(state.wanted) - {each.id for each in state.loaded}
    if not missing:
        return None
    reasons = {each.id: each.reason for each in state.refused}
    named = "; ".join(f"{each}: {reasons.get(each, 'still loading')}" for each in sorted(missing))
    return f"not every wanted snapshot serves: {named}"
