"""Which partitions are this process's own, and how far it has come in each."""

from collections.abc import Callable, Collection, Mapping

import structlog

from sluice import instruments, metrics
from sluice.errors import StorageUnavailable
from sluice.events import Partition

_log = structlog.get_logger()
_LAG = instruments.gauge(metrics.LAG)
_DELAY = instruments.gauge(metrics.DELAY)


class Assignment:
    """A :class:`~sluice.events.Listener` that notes changes; looking things up is for the loop, where it may fail.

    ``positions`` are those of the partitions taken over, ``new`` the partitions that wait for it. ``commit`` is
    called before partitions go to another member in order, ``released`` with those that went.
    """

    def __init__(self, commit: Callable[[], None], released: Callable[[set[Partition]], None]) -> None:
        self._commit, self._released = commit, released
        self.positions: dict[Partition, int] = {}
        self.new: set[Partition] = set()
        self.changes = 0

    def take_over(self, positions: Mapping[Partition, int]) -> None:
        """Count partitions that were new among this process's own."""
        self.positions |= positions
        self.new -= positions.keys()

    def assigned(self, partitions: Collection[Partition]) -> None:
        """See :class:`~sluice.events.Listener`."""
        self._release(partitions)
        self.new |= set(partitions)

    def revoked(self, partitions: Collection[Partition]) -> None:
        """See :class:`~sluice.events.Listener`."""
        try:
            self._commit()
        except StorageUnavailable as error:  # whoever is next applies the batch again
            _log.warning("last commit was not taken", reason=str(error))
        finally:
            self._release(partitions)

    def lost(self, partitions: Collection[Partition]) -> None:
        """See :class:`~sluice.events.Listener`."""
        self._release(partitions)

    def _release(self, partitions: Collection[Partition]) -> None:
        self.changes += 1
        self.new -= set(partitions)
        for each in set(partitions) & self.positions.keys():
            del self.positions[each]
            _LAG.remove(*each)
            _DELAY.remove(*each)
        self._released(set(partitions))
