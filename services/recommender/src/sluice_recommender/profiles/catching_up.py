"""Brings the ledger to where the process stands: what it lacks of a partition it reads from the log, bit by bit."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

import structlog

from sluice.duplicates import WINDOW, Duplicates
from sluice.errors import OffsetOutOfRange, StorageUnavailable
from sluice.events import EventLog, Partition, StoredRecord
from sluice.positions import at
from sluice.topics import Topics
from sluice_recommender.profiles.batch import Batch
from sluice_recommender.profiles.ledger import Ledger, Span

BUDGET_S: Final = 0.2
"""So long, about, it keeps profiles waiting in a round."""
CHUNK: Final = 2_000
RETRY_S: Final = 1.0
KEEP_S: Final = 60.0
"""So long the ledger keeps what it knows of partitions that went elsewhere, and then no user of theirs any more."""

_log = structlog.get_logger()


class _Behind:
    """Where reading of one partition number stands, and the log time of what was read last."""

    def __init__(self, reading: dict[Partition, int]) -> None:
        self.reading = reading
        self.duplicates = Duplicates()
        self.times = dict.fromkeys(reading, 0)


class CatchUp:
    """Knows of each partition number whether the ledger has met the process, and sees to it that it does.

    Once met, batches feed the ledger. Before, it may be judged as far as it has come, unless it was not begun.
    """

    def __init__(self, log: EventLog, topics: Topics, ledger: Ledger, monotonic: Callable[[], float]) -> None:
        self._log, self._topics, self._ledger, self._monotonic = log, topics, ledger, monotonic
        self._unplaced: set[int] = set()
        self._behind: dict[int, _Behind] = {}
        self._met: set[int] = set()
        self._again_at, self._told = 0.0, False
        self._changed_at = monotonic()

    def take_over(self, numbers: Collection[int]) -> None:
        """Begin with these partition numbers, also if they were taken over before."""
        if numbers:
            self.release(numbers)
            self._unplaced |= set(numbers)

    def release(self, numbers: Iterable[int]) -> None:
        """Let go of them; what the ledger holds may serve again."""
        self._changed_at = self._monotonic()
        for number in numbers:
            self._unplaced.discard(number)
            self._met.discard(number)
            self._behind.pop(number, None)

    def feed(self, batch: Batch, positions: Mapping[Partition, int]) -> None:
        """Let the ledger take in a batch that was read from ``positions``, where it has met the process."""
        spans = {
            partition: Span(positions[partition], end)
            for partition, end in batch.ends.items()
            if partition.number in self._met and partition in self._ledger.partitions(partition.number)
        }
        if spans:
            self.take_over(self._ledger.record(batch.answers, batch.clicks, spans))

    def work(self, positions: Mapping[Partition, int], needed_from: Callable[[], int]) -> None:
        """Go on for a moment. What cannot be read now is read later: profiles do not wait for it."""
        started = self._monotonic()
        if not (self._unplaced or self._behind) or started < self._again_at:
            return
        try:
            if self._unplaced:
                self._place(positions, needed_from())
            while self._behind and self._monotonic() < started + BUDGET_S:
                self._go_on(min(self._behind), positions)
            self._told = False
        except StorageUnavailable as error:
            self._again_at = started + RETRY_S
            if not self._told:
                _log.warning("attribution catches up later", reason=str(error))
            self._told = True

    def _place(self, positions: Mapping[Partition, int], needed_from: int) -> None:
        """Find out where the ledger goes on, or begin anew what it does not know from the time needed on."""
        topics = self._topics.interactions, self._topics.answers
        found = [self._log.offsets_at(topic, needed_from) for topic in topics]
        begins = self._log.begin_offsets(self._topics.interactions)
        for number in sorted(self._unplaced):
            clicks, answers = self._ledger.partitions(number)
            if not positions.keys() >= {clicks, answers}:
                continue
            needed = {
                each: min(at(offsets, each), positions[each])
                for each, offsets in zip((clicks, answers), found, strict=True)
            }
            taken = self._ledger.taken(number)
            if not all(
                each in taken and taken[each].start <= start <= taken[each].end
                for each, start in needed.items()
            ):
                self._ledger.restart(number, needed, needed_from)
                taken = self._ledger.taken(number)
            if all(taken[each].end >= positions[each] for each in needed):
                self._met.add(number)
            else:
                repeats_from = max(at(begins, clicks), taken[clicks].end - WINDOW)
                self._behind[number] = _Behind({clicks: repeats_from, answers: taken[answers].end})
            self._unplaced.discard(number)

    def _go_on(self, number: int, positions: Mapping[Partition, int]) -> None:
        behind = self._behind[number]
        wanted = {each: start for each, start in behind.reading.items() if start < positions[each]}
        if not wanted:
            del self._behind[number]
            self._met.add(number)
            return
        try:
            found = self._log.read(wanted, CHUNK, 0.0)
        except OffsetOutOfRange:  # deleted meanwhile
            self._ledger.restart(number, {})
            self.take_over([number])
            raise StorageUnavailable(
                "records that attribution needs were deleted while they were read"
            ) from None
        if not found:  # a log with gaps: there is nothing
            found_to = {each: positions[each] for each in wanted}
        else:
            found_to = {each.partition: min(each.offset + 1, positions[each.partition]) for each in found}
        self._take(number, [each for each in found if each.offset < positions[each.partition]], found_to)

    def _take(self, number: int, records: Sequence[StoredRecord], found_to: Mapping[Partition, int]) -> None:
        behind = self._behind[number]
        batch = Batch(self._topics, {}, behind.duplicates).sort(records)
        spans = {each: Span(behind.reading[each], end) for each, end in found_to.items()}
        missing = self._ledger.record(batch.answers, batch.clicks, spans)
        behind.reading.update(found_to)
        behind.times.update({each: record.timestamp for each, record in batch.last.items()})
        if missing:
            self.take_over(missing)

    def tidy(self) -> None:
        """Forget partitions that have been elsewhere for a while: a forget of their users is not read here."""
        if self._monotonic() > self._changed_at + KEEP_S:
            for number in self._ledger.numbers() - self._met - self._behind.keys() - self._unplaced:
                self._ledger.restart(number, {})

    def watermarks(self, read_to: Mapping[Partition, int]) -> dict[int, int]:
        """Return up to which log time the ledger has what the process has ``read_to``, by partition number.

        Numbers that it did not begin with have none.
        """
        marks = {}
        for number in self._met | self._behind.keys():
            behind = self._behind.get(number)
            times = [read_to[each] for each in self._ledger.partitions(number)]
            marks[number] = min(times + ([] if behind is None else list(behind.times.values())))
        return marks
