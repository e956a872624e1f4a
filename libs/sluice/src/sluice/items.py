"""Ports of the item catalogue and of popularity, one each per source."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from sluice.events import Partition
from sluice.records import Item


class Items(Protocol):
    """Port: the items of one source."""

    def put(self, items: Sequence[Item]) -> None:
        """Insert or replace items."""

    def delete(self, item_ids: Sequence[str]) -> None:
        """Delete items; unknown ones are passed over."""

    def get(self, item_ids: Sequence[str]) -> dict[str, Item]:
        """Return those that exist."""


LANDMARK_S: Final = 1_577_836_800.0
"""2020-01-01 in Unix seconds, where an event counts exactly its weight."""
HALF_LIFE_S: Final = 30 * 86_400.0


def growth(at: float) -> float:
    """Return what an event at ``at`` (Unix seconds) counts beside one at the landmark.

    Forward decay (Cormode, Shkapenyuk, Srivastava, Xu 2009, sec. 3): counting ``2^((t - L) / H)`` instead
    of letting old counts decay orders items alike, and counts only ever grow, so nothing needs a sweep.
    """
    return float(2.0 ** ((at - LANDMARK_S) / HALF_LIFE_S))


class Popularity(Protocol):
    """Port: exact, decayed counts of one source."""

    def apply(self, partition: Partition, end_offset: int, gains: Mapping[str, float]) -> None:
        """Add ``gains`` (each event's weight times :func:`growth` of its time).

        Changes nothing if this partition's counts already include offsets up to ``end_offset``.
        """

    def counted_to(self, partition: Partition) -> int:
        """Return the end offset that this partition's counts include; 0 if none yet."""

    def top(self, n: int) -> list[tuple[str, float]]:
        """Return the ``n`` most popular (item id, count in units of the landmark), best first."""
