"""What the API reads of a source, kept for a moment: item metadata and the popular items."""

import heapq
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from sluice.errors import StorageUnavailable
from sluice.filters import Filter
from sluice.items import Items, Popularity, growth
from sluice.overlay import Overlay, Selection
from sluice_recommender.api.answers import ItemMetadata
from sluice_recommender.api.asking import POPULAR_DEPTH, Ranked

METADATA_S: Final = 0.5
CALM_S: Final = 10.0
"""Metadata is kept so long while no item has changed for so long: by then the profiles process has stored it."""
POPULAR_S: Final = 1.0
FOLLOW_S: Final = 0.1
"""How soon popular items follow a change of the overlay."""
REST: Final = 20
FOLLOW_REST: Final = 5
"""A ranking rests at least so many times as long as it took, the second where its items are others since."""
SELECTIVE: Final = 2 * POPULAR_DEPTH
"""Up to so many items that match a filter are ranked by themselves."""
CAPACITY: Final = 50_000
FILTERS_KEPT: Final = 64


class Metadata:
    """Item metadata as ready JSON; what was known last while the store cannot answer.

    It is at most half a second older than the store, ten seconds where the store is that far behind ``overlay``,
    whose topic tells when items change.
    """

    def __init__(self, items: Items, overlay: Overlay, clock: Callable[[], float] = time.monotonic) -> None:
        self._items, self._overlay, self._clock = items, overlay, clock
        self._changes, self._changed_at = 0, clock()
        self._kept: dict[str, tuple[float, msgspec.Raw | None]] = {}

    def of(self, item_ids: Sequence[str]) -> Mapping[str, msgspec.Raw | None]:
        """Return the metadata of each id."""
        now = self._clock()
        kept, found, oldest = self._kept, {}, now - self._lifetime(now)
        missing = []
        for item_id in item_ids:
            read_at, metadata = kept.get(item_id, (-math.inf, None))
            if read_at > oldest:
                found[item_id] = metadata
            else:
                missing.append(item_id)
        if missing:
            found.update(self._read(missing, now))
        return found

    def _lifetime(self, now: float) -> float:
        changes = self._overlay.version + self._overlay.refused
        if changes != self._changes:
            self._changes, self._changed_at = changes, now
        return METADATA_S if now < self._changed_at + CALM_S else CALM_S

    def _read(self, item_ids: Sequence[str], now: float) -> dict[str, msgspec.Raw | None]:
        try:
            items = self._items.get(item_ids)
        except StorageUnavailable:
            return {item_id: self._last(item_id) for item_id in item_ids}
        read: dict[str, msgspec.Raw | None] = dict.fromkeys(item_ids)
        for item_id, item in items.items():
            document = ItemMetadata(title=item.title, features=item.features)
            read[item_id] = msgspec.Raw(msgspec.json.encode(document))
        if len(self._kept) + len(read) > CAPACITY:
            self._kept = {}
        self._kept.update((item_id, (now, metadata)) for item_id, metadata in read.items())
        return read

    def _last(self, item_id: str) -> msgspec.Raw | None:
        _, metadata = self._kept.get(item_id, (0.0, None))
        return metadata


class _Kept(NamedTuple):
    """One ranking, when it was made and how long that took, and of which items; compared at ``version``."""

    made: float
    took: float
    version: int
    selection: Selection
    ranked: Ranked


class Popular:
    """The popular items that are recommendable and match, with what they count now.

    A ranking is at most a second old, or 0.1 s where its items are others since, unless it takes long (there
    are many items and most were never counted). The last one stays while the store fails.
    """

    def __init__(
        self,
        popularity: Popularity,
        overlay: Overlay,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._popularity, self._overlay, self._clock, self._ticks = popularity, overlay, clock, ticks
        self._kept: dict[Filter | None, _Kept] = {}
        self._lock = threading.Lock()

    def ranked(self, wanted: Filter | None = None) -> Ranked:
        """Return (item id, decayed count), best first; items never counted come last, by id.

        These are all there are, or enough of them to fill any answer.
        """
        kept = self._kept.get(wanted)
        if (kept is None or self._is_due(kept)) and self._lock.acquire(blocking=kept is None):
            try:
                kept = self._kept.get(wanted)
                if kept is None or self._is_due(kept):
                    kept = self._follow(wanted, kept)
            finally:
                self._lock.release()
        return () if kept is None else kept.ranked

    def _is_due(self, kept: _Kept) -> bool:
        age = self._ticks() - kept.made
        if kept.version != self._overlay.version and age >= max(FOLLOW_S, FOLLOW_REST * kept.took):
            return True
        return age >= max(POPULAR_S, REST * kept.took)

    def _follow(self, wanted: Filter | None, last: _Kept | None) -> _Kept:
        version, selection, now = self._overlay.version, self._overlay.select(wanted), self._ticks()
        if last is not None and last.selection == selection and now < last.made + POPULAR_S:
            kept = last._replace(version=version)
        else:
            ranked, done = self._ranked_or_last(wanted, last), self._ticks()
            kept = _Kept(done, done - now, version, selection, ranked)
        if len(self._kept) >= FILTERS_KEPT and wanted not in self._kept:
            self._kept = {None: self._kept[None]} if None in self._kept else {}
        self._kept[wanted] = kept
        return kept

    def _ranked_or_last(self, wanted: Filter | None, last: _Kept | None) -> Ranked:
        try:
            return self._rank(wanted)
        except StorageUnavailable:
            return self._last(wanted, last)

    def _last(self, wanted: Filter | None, last: _Kept | None) -> Ranked:
        known = last or self._kept.get(None)
        matches = self._overlay.test(wanted)
        return [] if known is None else [pair for pair in known.ranked if matches(pair[0])]

    def _rank(self, wanted: Filter | None) -> list[tuple[str, float]]:
        now = growth(self._clock())
        selected, excluded = self._overlay.select(wanted)
        if not excluded and len(selected) <= SELECTIVE:
            return self._rank_few(wanted, now)
        matches, depth = self._overlay.test(wanted), POPULAR_DEPTH
        while True:
            top = self._popularity.top(depth)
            found = [(item_id, count / now) for item_id, count in top if matches(item_id)]
            if len(found) >= POPULAR_DEPTH:
                return found[:POPULAR_DEPTH]
            if len(top) < depth:
                return found + self._uncounted(wanted, {item_id for item_id, _ in top}, len(found))
            depth *= 4

    def _rank_few(self, wanted: Filter | None, now: float) -> list[tuple[str, float]]:
        matching = self._overlay.matching(wanted)
        counts = self._popularity.of(matching)
        ranked = sorted((-counts.get(item_id, 0.0), item_id) for item_id in matching)
        return [(item_id, -count / now) for count, item_id in ranked[:POPULAR_DEPTH]]

    def _uncounted(self, wanted: Filter | None, counted: set[str], found: int) -> list[tuple[str, float]]:
        others = (item_id for item_id in self._overlay.matching(wanted) if item_id not in counted)
        return [(item_id, 0.0) for item_id in heapq.nsmallest(POPULAR_DEPTH - found, others)]
