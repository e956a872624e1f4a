"""How many records of each partition are still to be read."""

from collections.abc import Mapping
from typing import Final

from sluice.errors import OffsetOutOfRange
from sluice.events import EventLog, Partition

SEEN_MS: Final = 100
"""What a log says of its ends may be so old."""


class Lags:
    """Compares positions with the log's ends, and looks where one does not move towards its end.

    Offsets need not be gapless: behind the last record may lie what a transaction leaves, which is never read.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._last: dict[Partition, int] = {}

    def of(self, positions: Mapping[Partition, int]) -> dict[Partition, int]:
        """Return the distance of each position from its end; 0 where there is nothing to be read.

        Raises :class:`~sluice.errors.StorageUnavailable` if the log does not tell.
        """
        ends = {
            each: end
            for topic in {partition.topic for partition in positions}
            for each, end in self._log.end_offsets(topic).items()
        }
        lags = {each: max(0, ends.get(each, at) - at) for each, at in positions.items()}
        stuck = {each: at for each, at in positions.items() if lags[each] and self._last.get(each) == at}
        self._last = dict(positions)
        return lags | dict.fromkeys(self._empty(stuck), 0)

    def _empty(self, positions: Mapping[Partition, int]) -> set[Partition]:
        """Return where nothing is: what stays when all that give a record are left out."""
        asked = dict(positions)
        try:
            while asked and (found := self._log.read(asked, len(asked), 0.0)):
                for record in found:
                    asked.pop(record.partition, None)
        except OffsetOutOfRange:  # whoever reads there finds out
            return set()
        return set(asked)
