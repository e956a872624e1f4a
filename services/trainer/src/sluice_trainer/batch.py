"""From stored records to a batch: decoded, de-duplicated, in the order of the plan, one column a field."""

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from sluice.errors import InvalidRecord
from sluice.events import StoredRecord
from sluice.records import Decoded, Forget, Interaction, decode_interactions
from sluice_trainer.repeats import Repeats

_OFFSET_BITS: Final = 48
Keys = NDArray[np.uint64]
_NUMBER = itemgetter(1)  # of a partition


class Forgotten(NamedTuple):
    """A forget: it comes before the interaction at ``place`` of its batch."""

    place: int
    user_id: str


class Batch(NamedTuple):
    """What a plan's records came to: columns of the interactions, and the forgets between them.

    ``keys (n,)`` number the interactions uniquely: partition number and offset.
    """

    keys: Keys
    users: Sequence[str]
    items: Sequence[str]
    kinds: Sequence[str]
    values: Sequence[float]
    forgets: Sequence[Forgotten]
    duplicates: int
    rejected: int

    def between(self, start: int, stop: int) -> "Batch":
        """Return the interactions from ``start`` to just before ``stop``, without forgets."""
        part = slice(start, stop)
        return Batch(
            self.keys[part], self.users[part], self.items[part], self.kinds[part], self.values[part], (), 0, 0
        )

    def at(self, places: Sequence[int]) -> "Batch":
        """Return the interactions at ascending ``places``, without forgets."""
        return Batch(
            self.keys[list(places)],
            [self.users[place] for place in places],
            [self.items[place] for place in places],
            [self.kinds[place] for place in places],
            [self.values[place] for place in places],
            (),
            0,
            0,
        )


class Run(NamedTuple):
    """Consecutive interactions, or None and the id of a user to be forgotten between them."""

    interactions: Batch | None
    forgotten: str = ""


def origin(key: int) -> tuple[int, int]:
    """Return partition number and offset of an event's key."""
    return key >> _OFFSET_BITS, key & ((1 << _OFFSET_BITS) - 1)


def origins(keys: Keys) -> tuple[Keys, Keys]:
    """Return partition numbers and offsets of events' keys."""
    return keys >> np.uint64(_OFFSET_BITS), keys & np.uint64((1 << _OFFSET_BITS) - 1)


def ranges_of(keys: Keys) -> str:
    """Return what events' keys span, ``0:100-200,1:50-80``: partition, first offset, the one behind the last."""
    parts, offsets = origins(keys)
    numbers, places = np.unique(parts, return_inverse=True)
    spans = ((number, offsets[places == place]) for place, number in enumerate(numbers.tolist()))
    return ",".join(f"{number}:{own.min()}-{own.max() + 1}" for number, own in spans)


def decode(records: Sequence[StoredRecord], repeats: Repeats) -> Batch:
    """Decode ``records``; what cannot be read is counted (the profiles process dead-letters it)."""
    if not records:
        return Batch(np.empty(0, dtype=np.uint64), (), (), (), (), (), 0, 0)
    partitions, offsets, _, _, payloads, _ = zip(*records, strict=True)
    read = decode_interactions([payload or b"" for payload in payloads])
    numbers = np.fromiter(map(_NUMBER, partitions), dtype=np.int64, count=len(read))
    ats = np.array(offsets, dtype=np.int64)
    kept, accepted, others = _accepted(read)
    repeated = repeats.of(numbers[accepted], ats[accepted], [each.event_id for each in kept])
    if repeated.any():
        kept = [kept[place] for place in np.flatnonzero(~repeated).tolist()]
        accepted[np.flatnonzero(accepted)[repeated]] = False
    before = np.cumsum(accepted) if others else ()
    return Batch(
        keys=((numbers << _OFFSET_BITS) | ats)[accepted].astype(np.uint64),
        users=[each.user_id for each in kept],
        items=[each.item_id for each in kept],
        kinds=[each.event for each in kept],
        values=[each.value for each in kept],
        forgets=[
            Forgotten(int(before[place]), each.user_id) for place, each in others if isinstance(each, Forget)
        ],
        duplicates=int(repeated.sum()),
        rejected=sum(isinstance(each, InvalidRecord) for _, each in others),
    )


def _accepted(
    read: Sequence[Decoded],
) -> tuple[list[Interaction], NDArray[np.bool_], list[tuple[int, Decoded]]]:
    """Return the interactions, which of ``read`` they are, and all else with its place."""
    accepted = np.ones(len(read), dtype=np.bool_)
    if all(issubclass(kind, Interaction) for kind in set(map(type, read))):
        return cast(list[Interaction], read), accepted, []
    accepted[:] = [isinstance(each, Interaction) for each in read]
    others = [(place, read[place]) for place in np.flatnonzero(~accepted).tolist()]
    return [each for each in read if isinstance(each, Interaction)], accepted, others


def interactions_in(records: Sequence[StoredRecord]) -> int:
    """Return how many interactions ``records`` hold once duplicates, forgets and the unreadable are left out."""
    return len(decode(records, Repeats()).users)


def runs(batch: Batch) -> Iterator[Run]:
    """Split a batch at its forgets, in order."""
    start = 0
    for place, user_id in batch.forgets:
        if place > start:
            yield Run(batch.between(start, place))
        yield Run(None, user_id)
        start = place
    if len(batch.users) > start:
        yield Run(batch.between(start, len(batch.users)))


def without_forgotten(batch: Batch) -> Batch:
    """Return the interactions that no later forget of their user voids."""
    last = {user_id: place for place, user_id in batch.forgets}
    return batch.at([place for place, user in enumerate(batch.users) if place >= last.get(user, 0)])
