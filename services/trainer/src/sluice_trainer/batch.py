"""From stored records to a batch: decoded, de-duplicated, in the order of the plan."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from sluice.errors import InvalidRecord
from sluice.events import StoredRecord
from sluice.records import Forget, Interaction, decode_interaction

DUPLICATE_WINDOW: Final = 100_000
"""How many of the newest distinct ``event_id`` are remembered; a repeat within it is dropped."""
_OFFSET_BITS: Final = 48


class Event(NamedTuple):
    """One accepted event; ``key`` numbers it uniquely: partition number and offset."""

    key: int
    event: Interaction | Forget


class Batch(NamedTuple):
    """What a plan's records came to."""

    events: list[Event]
    duplicates: int
    rejected: int


class Duplicates:
    """The newest event ids, as 64-bit hashes, oldest first."""

    def __init__(self, hashes: Sequence[int] = ()) -> None:
        self._hashes = dict.fromkeys(hashes)

    def add(self, event_id: str) -> bool:
        """Remember an id; return whether it was known."""
        hashed = int.from_bytes(blake2b(event_id.encode(), digest_size=8).digest(), "little")
        known = hashed in self._hashes
        self._hashes[hashed] = None
        if len(self._hashes) > DUPLICATE_WINDOW:
            del self._hashes[next(iter(self._hashes))]
        return known

    def state(self) -> list[int]:
        """Return the hashes, oldest first."""
        return list(self._hashes)


def decode(records: Sequence[StoredRecord], duplicates: Duplicates) -> Batch:
    """Decode ``records``; what cannot be read is counted (the profiles process dead-letters it)."""
    events, repeated, rejected = [], 0, 0
    for record in records:
        try:
            event = decode_interaction(record.value or b"")
        except InvalidRecord:
            rejected += 1
            continue
        if isinstance(event, Interaction) and event.event_id and duplicates.add(event.event_id):
            repeated += 1
            continue
        events.append(Event(record.partition.number << _OFFSET_BITS | record.offset, event))
    return Batch(events, repeated, rejected)


def interactions_in(records: Sequence[StoredRecord]) -> int:
    """Return how many interactions ``records`` hold once duplicates, forgets and the unreadable are left out."""
    events = decode(records, Duplicates()).events
    return sum(isinstance(each.event, Interaction) for each in events)
