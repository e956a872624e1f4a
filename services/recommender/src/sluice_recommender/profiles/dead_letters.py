"""Writes what could not be read to the dead-letter topic, once per origin however often it is read.

The trainers of the source append to the topic too, what their learners refused: sound records, so never of an
origin that is refused here. This process commits ends of the topic together with its positions, and never
beyond a letter whose origin the positions have not passed. So after a crash every letter of its own that it may
come to write again lies behind the committed ends; these are looked up at the start and not written a second
time.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from sluice.events import EventLog, NewRecord, Partition, StoredRecord
from sluice_recommender.profiles.batch import Rejected

_READ: Final = 1_000
Origin = tuple[Partition, int]


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
        new = [each for each in rejected if _origin(each.record) not in self._written]
        if new:
            self._unsure = True  # a log that fails may have taken them all the same
            self._log.append(self._topic, [_letter(each) for each in new])
            self._written.update(_origin(each.record) for each in new)
            self._unsure = False
        if self._written and not self._ahead(positions):
            self.ends = self._log.end_offsets(self._topic)

    def committed(self, positions: Mapping[Partition, int]) -> None:
        """Forget origins that will not be read again."""
        self._written = self._ahead(positions)

    def _ahead(self, positions: Mapping[Partition, int]) -> set[Origin]:
        return {origin for origin in self._written if origin[1] >= positions.get(origin[0], 0)}

    def _since(self, positions: dict[Partition, int]) -> set[Origin]:
        origins = set()
        while letters := self._log.read(positions, _READ, 0.0):
            for letter in letters:
                positions[letter.partition] = letter.offset + 1
                origins.add(_told(letter))
        return origins


def _told(letter: StoredRecord) -> Origin:
    """Return the origin that a letter names; one that is not of this process may name none."""
    headers = dict(letter.headers)
    topic, part, offset = (headers.get(name, b"") for name in ("topic", "partition", "offset"))
    if not (part.isdigit() and offset.isdigit()):
        return Partition("", 0), 0
    return Partition(topic.decode(errors="replace"), int(part)), int(offset)


def _origin(record: StoredRecord) -> Origin:
    return record.partition, record.offset


def _letter(rejected: Rejected) -> NewRecord:
    record = rejected.record
    headers = (
        ("reason", rejected.reason.encode()),
        ("topic", record.partition.topic.encode()),
        ("partition", b"%d" % record.partition.number),
        ("offset", b"%d" % record.offset),
        ("detail", rejected.detail.encode(errors="replace")),
    )
    return NewRecord(record.key, record.value, headers)
