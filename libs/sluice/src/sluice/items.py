"""Ports of the item catalogue and of popularity, one each per source."""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple, Protocol

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


MOST_HALF_LIVES: Final = 975.0
"""From the year 2100 on events count alike: a log whose clock runs wild must not make counts infinite."""


def growth(at: float) -> float:
    """Return what an event at ``at`` (Unix seconds, the log's time) counts beside one at the landmark.

    Forward decay (Cormode, Shkapenyuk, Srivastava, Xu 2009, sec. 3): counting ``2^((t - L) / H)`` instead
    of letting old counts decay orders items alike, and counts only ever grow, so nothing needs a sweep.
    """
    return float(2.0 ** min((at - LANDMARK_S) / HALF_LIFE_S, MOST_HALF_LIVES))


class Gain(NamedTuple):
    """What one event at ``offset`` adds to its item: its weight times :func:`growth` of its time."""

    offset: int
    item_id: str
    amount: float


class Popularity(Protocol):
    """Port: decayed counts of one source. Sums over users: they stay when a user is forgotten."""

    def apply(self, partition: Partition, gains: Sequence[Gain]) -> None:
        """Add the gains (in offset order) behind those that this partition's counts include already.

        So each event counts exactly once, however batches overlap; sums are exact up to the rounding of
        floats, which depends on how events fall into batches.
        """

    def top(self, n: int) -> list[tuple[str, float]]:
        """Return the ``n`` most popular (item id, count in units of the landmark), best first."""

    def of(self, item_ids: Collection[str]) -> dict[str, float]:
        """Return the counts of these items, in units of the landmark; those never counted are left out."""
