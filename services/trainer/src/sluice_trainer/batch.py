"""From stored records to a batch: decoded, de-duplicated, in the order of the plan."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sluice.duplicates import Duplicates
from sluice.errors import InvalidRecord
from sluice.events import StoredRecord
from sluice.records import Forget, Interaction, decode_interaction

_OFFSET_BITS: Final = 48
Keys = NDArray[np.uint64]


class Event(NamedTuple):
    """One accepted event; ``key`` numbers it uniquely: partition number and offset."""

    key: int
    event: Interaction | Forget


class Batch(NamedTuple):
    """What a plan's records came to."""

    events: list[Event]
    duplicates: int
    rejected: int


class Run(NamedTuple):
    """Consecutive interactions, or one forget between them."""

    events: list[Event]
    forget: Forget | None = None


def origin(key: int) -> tuple[int, int]:
    """Return partition number and offset of an event's key."""
    return key >> _OFFSET_BITS, key & ((1 << _OFFSET_BITS) - 1)


def origins(keys: Keys) -> tuple[Keys, Keys]:
    """Return partition numbers and offsets of events' keys."""
    return keys >> np.uint64(_OFFSET_BITS), keys & np.uint64((1 << _OFFSET_BITS) - 1)


def decode(records: Sequence[StoredRecord], duplicates: Duplicates) -> Batch:
    """Decode ``records``; what cannot be read is counted (the profiles process dead-letters it)."""
    events, repeated, rejected = [], 0, 0
    for (_, part), offset, _, _, value, _ in records:
        try:
            event = decode_interaction(value or b"")
        except InvalidRecord:
            rejected += 1
            continue
        if (
            isinstance(event, Interaction)
            and event.event_id is not None
            and duplicates.repeated(part, offset, event.event_id)
        ):
            repeated += 1
            continue
        events.append(Event(part << _OFFSET_BITS | offset, event))
    return Batch(events, repeated, rejected)


def interactions_in(records: Sequence[StoredRecord]) -> int:
    """Return how many interactions ``records`` hold once duplicates, forgets and the unreadable are left out."""
    events = decode(records, Duplicates()).events
    return sum(isinstance(each.event, Interaction) for each in events)


def runs(events: Sequence[Event]) -> Iterator[Run]:
    """Split a batch at its forgets, in order."""
    pending: list[Event] = []
    for event in events:
        if isinstance(event.event, Forget):
            if pending:
                yield Run(pending)
            yield Run([], event.event)
            pending = []
        else:
            pending.append(event)
    if pending:
        yield Run(pending)


def without_forgotten(events: Sequence[Event]) -> list[Event]:
    """Return the interactions that no later forget of their user voids."""
    forgotten: set[str] = set()
    kept = []
    for event in reversed(events):
        if isinstance(event.event, Forget):
            forgotten.add(event.event.user_id)
        elif event.event.user_id not in forgotten:
            kept.append(event)
    return kept[::-1]
