"""The event ids before a position, read again when a partition is taken over, so that its repeats are known."""

from collections.abc import Callable, Collection, Mapping
from typing import Final, NamedTuple

from sluice.duplicates import WINDOW, Duplicates
from sluice.errors import InvalidRecord, OffsetOutOfRange, StorageUnavailable
from sluice.events import EventLog, Partition, StoredRecord
from sluice.positions import read_to
from sluice.records import decode_interaction
from sluice_recommender.profiles.batch import repeats

_CHUNK: Final = 10_000


class _Fed(NamedTuple):
    """Everything below ``end`` was asked; what lies at or behind ``first`` may be asked again."""

    first: int
    end: int


class RepeatWindow:
    """Keeps :class:`~sluice.duplicates.Duplicates` fed without gaps, partition by partition of the interactions.

    What is known of a partition that was given up stays until :meth:`keep` says otherwise: when it comes back at
    once, as in most rebalances, only what is missing is read.
    """

    def __init__(self, log: EventLog) -> None:
        self._log, self.duplicates = log, Duplicates()
        self._fed: dict[Partition, _Fed] = {}

    def take_over(
        self,
        positions: Mapping[Partition, int],
        begins: Mapping[Partition, int],
        between: Callable[[], None] = lambda: None,
    ) -> int:
        """Know the window before ``positions``; return the newest log time read for that (0: nothing was).

        ``begins`` are the first offsets that the log holds; ``between`` is called now and then. Raises
        :class:`~sluice.errors.StorageUnavailable` if the log cannot be read, and may then be called again.
        """
        starts = {each: self._start(each, position) for each, position in positions.items()}
        missing = {each: max(start, begins[each]) for each, start in starts.items() if start is not None}
        newest = 0
        try:
            for found in read_to(self._log, missing, positions, _CHUNK):
                for record in found:
                    remember(record, self.duplicates)
                newest = max([newest, *(record.timestamp for record in found)])
                between()
        except OffsetOutOfRange as error:  # deleted while they were read, or the topic was created anew
            raise StorageUnavailable(str(error)) from error
        self._fed |= {each: _Fed(positions[each], positions[each]) for each in missing}
        return newest

    def _start(self, partition: Partition, position: int) -> int | None:
        """Return from where on a partition must be read; None if all is known."""
        known = self._fed.get(partition)
        if known is not None and known.first <= position <= known.end <= position + WINDOW:
            return None
        if known is None or not known.first <= known.end < position:
            self._fed.pop(partition, None)
            self.duplicates.forget(partition.number)
            known = _Fed(position, 0)
        return max(known.end, position - WINDOW)

    def fed(self, ends: Mapping[Partition, int]) -> None:
        """Note that batches were sorted up to ``ends``."""
        for partition in ends.keys() & self._fed.keys():
            known = self._fed[partition]
            self._fed[partition] = known._replace(end=max(known.end, ends[partition]))

    def keep(self, partitions: Collection[Partition]) -> None:
        """Forget all other partitions."""
        for each in self._fed.keys() - set(partitions):
            del self._fed[each]
            self.duplicates.forget(each.number)


def remember(record: StoredRecord, duplicates: Duplicates) -> None:
    """Remember the event id of an interaction that somebody else has applied, if it has one."""
    value = record.value or b""
    if b"event_id" not in value and b"\\" not in value:  # the name may be written with escapes
        return
    try:
        repeats(decode_interaction(value), record, duplicates)
    except InvalidRecord:
        return  # a dead letter has no id
