"""What every reader returns: a stream of interactions in time order and the items it speaks of."""

from collections.abc import Iterable

from msgspec import Struct

from sluice.errors import SluiceError
from sluice.records import Interaction, Item


class DatasetError(SluiceError):
    """A data set is missing, damaged or not what its name promises; the message names file, line and fix."""


class Options(Struct, frozen=True, kw_only=True):
    """What may be asked of a reader; a reader passes over what its format has not.

    ``min_rating`` is the least rating (of 5) that counts as an interaction; ``limit`` is how many
    interactions to keep, the oldest first (``None`` = all).
    """

    min_rating: float = 4.0
    limit: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.min_rating <= 5:
            raise DatasetError(f"min_rating must be above 0 and at most 5, not {self.min_rating}")
        if self.limit is not None and self.limit < 1:
            raise DatasetError(f"limit must be at least 1, not {self.limit}; leave it out to keep everything")


class BadRow(Struct, frozen=True):
    """A row of a user's file that was refused: line (from 1), stable reason word, sentence with the fix."""

    line: int
    reason: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message} ({self.reason})"


class Dataset(Struct, frozen=True):
    """An event stream: ``interactions`` in time order (``ts`` in Unix milliseconds), ``items`` by first mention.

    ``bad_rows`` is empty for the known sets, where a bad row is an error.
    """

    name: str
    description: str
    interactions: list[Interaction]
    items: list[Item]
    bad_rows: tuple[BadRow, ...] = ()


def in_time_order(interactions: Iterable[Interaction]) -> list[Interaction]:
    """Sort by ``ts``; equal times keep their order, and one without ``ts`` stays behind the one before it.

    >>> rows = [Interaction(user_id="u", item_id=i, ts=ts) for i, ts in (("a", 5), ("b", None), ("c", 2))]
    >>> [row.item_id for row in in_time_order(rows)]
    ['c', 'a', 'b']
    """
    keyed: list[tuple[int, Interaction]] = []
    last = 0
    for interaction in interactions:
        last = last if interaction.ts is None else interaction.ts
        keyed.append((last, interaction))
    keyed.sort(key=lambda pair: pair[0])
    return [interaction for _, interaction in keyed]


def bare_items(interactions: Iterable[Interaction]) -> list[Item]:
    """Return an item without title for each id, in the order of first mention."""
    return [Item(item_id=item_id) for item_id in dict.fromkeys(each.item_id for each in interactions)]
