"""Writes what could not be read to the dead-letter topic, once per origin however often it is read.

This process is the only writer. It commits the topic's end offsets together with its positions, so after
a crash exactly the letters behind the committed ends belong to batches that will be read again; their
origins are looked up at the start and not written a second time.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from sluice.events import EventLog, NewRecord, Partition, StoredRecord
from sluice_recommender.profiles.batch import Rejected

_READ: Final = 1_000
Origin = tuple[bytes, bytes, bytes]


class DeadLetters:
    """The dead-letter topic of one source; ``committed`` are this group's last positions."""

    def __init__(self, log: EventLog, topic: str, committed: Mapping[Partition, int]) -> None:
        self._log, self._topic = log, topic
        self.ends = {partition: committed.get(partition, 0) for partition in log.partitions(topic)}
        self._written = self._since(dict(self.ends))

    def write(self, rejected: Sequence[Rejected]) -> None:
        """Append those not written before; raises StorageUnavailable, and then nothing may be skipped."""
        new = [each for each in rejected if _origin(each.record) not in self._written]
        if new:
            self._log.append(self._topic, [_letter(each) for each in new])
            self._written.update(_origin(each.record) for each in new)
            self.ends = self._log.end_offsets(self._topic)

    def committed(self) -> None:
        """Forget origins that will not be read again."""
        self._written.clear()

    def _since(self, positions: dict[Partition, int]) -> set[Origin]:
        origins = set()
        while letters := self._log.read(positions, _READ, 0.0):
            for letter in letters:
                headers = dict(letter.headers)
                origins.add((headers["topic"], headers["partition"], headers["offset"]))
                positions[letter.partition] = letter.offset + 1
        return origins


def _origin(record: StoredRecord) -> Origin:
    topic, number = record.partition
    return topic.encode(), str(number).encode(), str(record.offset).encode()


def _letter(rejected: Rejected) -> NewRecord:
    record = rejected.record
    topic, partition, offset = _origin(record)
    headers = (
        ("reason", rejected.reason.encode()),
        ("topic", topic),
        ("partition", partition),
        ("offset", offset),
        ("detail", rejected.detail.encode(errors="replace")),
    )
    return NewRecord(record.key, record.value, headers)
