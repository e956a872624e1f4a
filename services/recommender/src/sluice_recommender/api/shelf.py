"""What the API reads of a source, kept for a moment: item metadata and the popular items."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from sluice.errors import StorageUnavailable
from sluice.items import Items, Popularity, growth
from sluice_recommender.api.answers import ItemMetadata
from sluice_recommender.api.asking import POPULAR_DEPTH, Ranked

METADATA_S: Final = 2.0
POPULAR_S: Final = 1.0
CAPACITY: Final = 50_000


class Metadata:
    """Item metadata as ready JSON, at most two seconds old; null where the store cannot answer."""

    def __init__(self, items: Items, clock: Callable[[], float] = time.monotonic) -> None:
        self._items, self._clock = items, clock
        self._kept: dict[str, tuple[float, msgspec.Raw | None]] = {}

    def of(self, item_ids: Sequence[str]) -> Mapping[str, msgspec.Raw | None]:
        """Return the metadata of each id."""
        now = self._clock()
        kept, found = self._kept, {}
        missing = []
        for item_id in item_ids:
            expires, metadata = kept.get(item_id, (0.0, None))
            if expires > now:
                found[item_id] = metadata
            else:
                missing.append(item_id)
        if missing:
            found.update(self._read(missing, now + METADATA_S))
        return found

    def _read(self, item_ids: Sequence[str], expires: float) -> dict[str, msgspec.Raw | None]:
        try:
            items = self._items.get(item_ids)
        except StorageUnavailable:
            return dict.fromkeys(item_ids)
        read: dict[str, msgspec.Raw | None] = dict.fromkeys(item_ids)
        for item_id, item in items.items():
            document = ItemMetadata(title=item.title, features=item.features)
            read[item_id] = msgspec.Raw(msgspec.json.encode(document))
        if len(self._kept) + len(read) > CAPACITY:
            self._kept = {}
        self._kept.update((item_id, (expires, metadata)) for item_id, metadata in read.items())
        return read


class Popular:
    """The most popular items with what they count now, at most a second old; the last list if the store fails."""

    def __init__(
        self,
        popularity: Popularity,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._popularity, self._clock, self._ticks = popularity, clock, ticks
        self._expires = 0.0
        self._top: Ranked = ()
        self._lock = threading.Lock()

    def top(self) -> Ranked:
        """Return (item id, decayed count), best first."""
        if self._ticks() >= self._expires and self._lock.acquire(blocking=not self._top):
            try:
                if self._ticks() >= self._expires:
                    self._refresh()
            finally:
                self._lock.release()
        return self._top

    def _refresh(self) -> None:
        try:
            now = growth(self._clock())
            self._top = [(item_id, count / now) for item_id, count in self._popularity.top(POPULAR_DEPTH)]
        except StorageUnavailable:
            pass
        self._expires = self._ticks() + POPULAR_S
