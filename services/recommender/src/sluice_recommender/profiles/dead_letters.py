"""Writes what could not be read to the dead-letter topic, once per origin however often and by whomever it is read.

The trainers of the source append to the topic too, what their learners refused: sound records, so never of an
origin that is refused here. A letter lies in the partition with the number of its origin's; who has partitions of a
number to read commits the end of that one together with its positions, and never beyond a letter whose origin the
positions have not passed. So after a crash, or when another process takes over, every letter that may come to be
written again lies behind the committed end; these are looked up first and not written a second time.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from sluice.dead_letters import Origin, letter, letters, named_by, origin_of
from sluice.errors import OffsetOutOfRange, SluiceError, StorageUnavailable
from sluice.events import EventLog, NewRecord, Partition
from sluice.positions import at
from sluice_recommender.profiles.batch import Rejected


class DeadLetters:
    """The dead-letter topic of one source, as far as it holds letters of the partition numbers taken over."""

    def __init__(self, log: EventLog, topic: str) -> None:
        self._log, self._topic = log, topic
        self._owned: set[int] = set()
        self._parts = 0  # of the topics read
        self._places: list[Partition] = []  # the partitions of the dead-letter topic
        self._known: dict[Partition, int] = {}
        self._written: set[Origin] = set()
        self._unsure = False

    def take_over(self, numbers: Collection[int], committed: Mapping[Partition, int], parts: int) -> None:
        """Look up the letters of these partition numbers behind the ``committed`` ends.

        ``parts`` is how many partitions the topics read have.
        """
        self._places, self._parts = self._log.partitions(self._topic), parts
        if not self._places:
            raise StorageUnavailable(f"topic {self._topic} does not exist; create it first")
        ends = {self._place(number): committed.get(self._place(number), 0) for number in numbers}
        found = self._since(ends)
        self._owned |= set(numbers)
        self._known |= {place: min(end, self._known.get(place, end)) for place, end in ends.items()}
        self._written |= self._own(found)

    def release(self, numbers: Iterable[int]) -> None:
        """Let go of these partition numbers."""
        self._owned -= set(numbers)
        kept = {self._place(number) for number in self._owned}
        self._known = {place: end for place, end in self._known.items() if place in kept}
        self._written = self._own(self._written)

    @property
    def ends(self) -> dict[Partition, int]:
        """Return what is to be committed with the positions.

        Where the topic has fewer partitions than those read, letters of several numbers share one: its end is
        for whoever has all of them.
        """
        return {place: end for place, end in self._known.items() if self._sharing(place) <= self._owned}

    def _place(self, number: int) -> Partition:
        return self._places[number % len(self._places)]

    def _sharing(self, place: Partition) -> set[int]:
        return {number for number in range(self._parts) if self._place(number) == place}

    def write(self, rejected: Sequence[Rejected], positions: Mapping[Partition, int]) -> None:
        """Append those not written before; raises StorageUnavailable, and then nothing may be skipped.

        ``positions`` are those that will be committed with :attr:`ends`. A batch that is read again may be a
        shorter one, so some of what was written may still lie ahead of them.
        """
        if self._unsure:
            self._written |= self._own(self._since(self._known))
        new = [each for each in rejected if origin_of(each.record) not in self._written]
        if new:
            self._unsure = True  # a log that fails may have taken them all the same
            self._append([letter(*each) for each in new])
            self._written.update(origin_of(each.record) for each in new)
            self._unsure = False
        self._move_ends(positions)

    def _append(self, letters: list[NewRecord]) -> None:
        try:
            self._log.append(self._topic, letters)
        except StorageUnavailable:
            raise
        except SluiceError as error:  # whoever else had the record would fail as well
            raise StorageUnavailable(f"topic {self._topic} does not take a letter: {error}") from error

    def _move_ends(self, positions: Mapping[Partition, int]) -> None:
        """Pass letters whose origins the positions have passed, where none of the others lies among them."""
        ahead = {self._place(each.partition.number) for each in self._ahead(positions)}
        done = {self._place(each.partition.number) for each in self._written} - ahead
        if done:
            ends = self._log.end_offsets(self._topic)
            self._known |= {place: at(ends, place) for place in done}

    def committed(self, positions: Mapping[Partition, int]) -> None:
        """Forget origins that will not be read again."""
        self._written = self._ahead(positions)

    def _ahead(self, positions: Mapping[Partition, int]) -> set[Origin]:
        return {
            each
            for each in self._written
            if each.partition in positions and each.offset >= positions[each.partition]
        }

    def _own(self, origins: set[Origin]) -> set[Origin]:
        return {each for each in origins if each.partition.number in self._owned}

    def _since(self, positions: Mapping[Partition, int]) -> set[Origin]:
        try:
            named = {named_by(each) for each in letters(self._log, positions)}
        except OffsetOutOfRange as error:  # deleted while they were read
            raise StorageUnavailable(str(error)) from error
        return {origin for origin in named if origin is not None}
