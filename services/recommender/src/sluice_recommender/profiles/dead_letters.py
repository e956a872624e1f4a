"""Writes what could not be read to the dead-letter topic, once per origin however often it is read.

The trainers of the source append to the topic too, what their learners refused: sound records, so never of an
origin that is refused here. This process commits ends of the topic together with its positions, and never
beyond a letter whose origin the positions have not passed. So after a crash every letter of its own that it may
come to write again lies behind the committed ends; these are looked up at the start and not written a second
time.
"""

from collections.abc import Mapping, Sequence

from sluice.dead_letters import Origin, letter, letters, named_by, origin_of
from sluice.events import EventLog, Partition
from sluice_recommender.profiles.batch import Rejected


class DeadLetters:
    """The dead-letter topic of one source; ``committed`` are this group's last positions."""

    def __init__(self, log: EventLog, topic: str, committed: Mapping[Partition, int]) -> None:
        self._log, self._topic = log, topic
        self.ends = {partition: committed.get(partition, 0) for partition in log.partitions(topic)}
        self._written = self._since(dict(self.ends))
        self._unsure = False

    def write(self, rejected: Sequence[Rejected], positions: Mapping[Partition, int]) -> None:
        """Append those not written before; raises StorageUnavailable, and then nothing may be skipped.

        ``positions`` are those that will be committed with :attr:`ends`. A batch that is read again may be a
        shorter one, so some of what was written may still lie ahead of them.
        """
        if self._unsure:
            self._written |= self._since(dict(self.ends))
        new = [each for each in rejected if origin_of(each.record) not in self._written]
        if new:
            self._unsure = True  # a log that fails may have taken them all the same
            self._log.append(self._topic, [letter(*each) for each in new])
            self._written.update(origin_of(each.record) for each in new)
            self._unsure = False
        if self._written and not self._ahead(positions):
            self.ends = self._log.end_offsets(self._topic)

    def committed(self, positions: Mapping[Partition, int]) -> None:
        """Forget origins that will not be read again."""
        self._written = self._ahead(positions)

    def _ahead(self, positions: Mapping[Partition, int]) -> set[Origin]:
        return {each for each in self._written if each.offset >= positions.get(each.partition, 0)}

    def _since(self, positions: dict[Partition, int]) -> set[Origin]:
        named = map(named_by, letters(self._log, positions))
        return {origin for origin in named if origin is not None}
