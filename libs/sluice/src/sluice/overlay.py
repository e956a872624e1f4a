"""The overlay: live state of a source's items and users above every snapshot, from their topics' records. Pure."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

import msgspec
from pyroaring import BitMap

from sluice.entities import CAPACITY, Entities
from sluice.errors import InvalidRecord
from sluice.events import StoredRecord
from sluice.filters import Filter, words_of
from sluice.postings import Postings
from sluice.records import Item, decode_item


class Selection(NamedTuple):
    """What a filter says about slots: those that may be answered, or (``excluded``) those that may not.

    The second form is that of a filter that items without record match.
    """

    slots: BitMap
    excluded: bool


class OverlayState(msgspec.Struct, frozen=True, kw_only=True):
    """Where a reader of items stands: next offset per partition, items known, records left to read.

    ``refused`` records of new items or users were not taken for lack of room: their items are neither hidden
    nor do they match. ``caught_up``: it has read what was in the log when it started.
    """

    position: dict[str, int] = {}
    items: int = 0
    refused: int = 0
    lag: int = 0
    caught_up: bool = False


class Overlay(Entities):
    """Which items are recommendable and which words they have.

    Deleted and unavailable items are hidden. ``position`` is the next offset per partition of the topic;
    ``malformed`` counts records that were passed over.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        super().__init__(capacity)
        self._postings = Postings()
        self.position: dict[int, int] = {}
        self.malformed = 0

    def apply(self, records: Iterable[StoredRecord]) -> None:
        """Take over records of the items topic, each partition's in offset order.

        A record replaces what was known of its item; one without value deletes its key's item.
        """
        for record in records:
            try:
                self._apply(record)
            except InvalidRecord:
                self.malformed += 1
            self.position[record.partition.number] = record.offset + 1

    def _apply(self, record: StoredRecord) -> None:
        if record.value is None:
            self._put(_text(record.key), None)
        else:
            item = decode_item(record.value)
            if record.key != item.item_id.encode():
                raise InvalidRecord("bad-key", "key must be the item_id; the topic is compacted by it")
            self._put(item.item_id, item)

    def _put(self, item_id: str, item: Item | None) -> None:
        words = words_of(item) if item is not None else frozenset()
        with self._lock:
            slot = self._slot(item_id)
            if slot is not None:
                self._postings.replace(slot, words)
                self._hide(slot, item is None or not item.available)

    def matches(self, item_id: str, wanted: Filter | None) -> bool:
        """Return whether an item may be answered: neither deleted nor unavailable, and matching.

        None matches every item, also those unknown here.
        """
        slot = self._slots.get(item_id)
        if slot is None:
            return wanted is None or not wanted.asks_for_words
        if wanted is None:
            return slot not in self._hidden
        with self._lock:
            return slot not in self._hidden and self._has_words(slot, wanted)

    def _has_words(self, slot: int, wanted: Filter) -> bool:
        def carries(word: str) -> bool:
            return self._postings.carries(slot, word)

        return (
            all(map(carries, wanted.all))
            and (not wanted.any or any(map(carries, wanted.any)))
            and not any(map(carries, wanted.none))
        )

    def test(self, wanted: Filter | None) -> Callable[[str], bool]:
        """Return :meth:`matches` for one filter, as of now; much faster for many items."""
        slots, excluded = self.select(wanted)

        def matches(item_id: str) -> bool:
            slot = self._slots.get(item_id)
            return excluded if slot is None else (slot in slots) is not excluded

        return matches

    def matching(self, wanted: Filter | None) -> Collection[str]:
        """Return the ids of the known items that are recommendable and match, in the order of their slots."""
        known = len(self)  # before the selection, which must have seen each of them
        selected, excluded = self.select(wanted)
        if excluded:
            selected = BitMap(range(known)) - selected
        return [self._ids[slot] for slot in selected]

    def select(self, wanted: Filter | None) -> Selection:
        """Evaluate a filter over all slots at once; hidden ones are never among those that may be answered."""
        with self._lock:
            if wanted is None:
                return Selection(self._hidden.copy(), excluded=True)
            barred = [self._postings.slots(word) for word in wanted.none]
            if not wanted.asks_for_words:
                return Selection(self._hidden.union(*barred), excluded=True)
            found = [self._postings.slots(word) for word in wanted.all]
            if wanted.any:
                found.append(BitMap.union(*map(self._postings.slots, wanted.any)))
            return Selection(_common(found).difference(self._hidden, *barred), excluded=False)


class Forgotten(Entities):
    """Users that a tombstone deleted; one that has a record again is known again."""

    def apply(self, records: Iterable[StoredRecord]) -> None:
        """Take over records of the users topic, each partition's in offset order."""
        for record in records:
            try:
                self._put(_text(record.key), forgotten=record.value is None)
            except InvalidRecord:
                continue

    def _put(self, user_id: str, *, forgotten: bool) -> None:
        with self._lock:
            if not forgotten and user_id not in self._slots:
                return
            slot = self._slot(user_id)
            if slot is not None:
                self._hide(slot, forgotten)


def _common(postings: Sequence[BitMap]) -> BitMap:
    return BitMap.intersection(*sorted(postings, key=len))


def _text(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise InvalidRecord("bad-utf8", "the key of a tombstone must be an id") from error
