"""Writes events that the learner refused to the dead-letter topic, once per origin however often replayed.

A checkpoint holds how far the topic reached, so the letters behind that belong to plans that a replay may
carry out again; their origins are looked up before the first letter is written, and not written a second time.
"""

from collections.abc import Sequence
from typing import Final

from sluice.events import EventLog, NewRecord, Partition, StoredRecord
from sluice_trainer.batch import origin
from sluice_trainer.refusing import Refused

REASON: Final = "not-finite"
_READ: Final = 1_000
Origin = tuple[bytes, bytes, bytes]


class DeadLetters:
    """This model's letters in its source's dead-letter topic."""

    def __init__(self, log: EventLog, topic: str, model: str, since: dict[int, int]) -> None:
        """``since`` is where letters may lie that a replay would write again, by partition number."""
        self._log, self._topic, self._model, self._since = log, topic, model.encode(), since
        self._written: set[Origin] | None = None

    def write(self, refused: Sequence[Refused], records: Sequence[StoredRecord]) -> None:
        """Append letters for those of a plan's ``records`` that were refused and have none yet.

        Raises :class:`~sluice.errors.StorageUnavailable`, and then nothing may go on without them.
        """
        if not refused:
            return
        if self._written is None:
            self._written = self._read()
        of = {(record.partition.number, record.offset): record for record in records}
        letters = [(of[origin(each.key)], each.detail) for each in refused]
        new = [each for each in letters if _origin(each[0]) not in self._written]
        if new:
            written, self._written = self._written, None  # if appending fails, nobody knows
            self._log.append(self._topic, [self._letter(*each) for each in new])
            self._written = written | {_origin(record) for record, _ in new}

    def ends(self) -> dict[int, int]:
        """Return how far the topic reaches now, by partition number."""
        return {part.number: end for part, end in self._log.end_offsets(self._topic).items()}

    def _read(self) -> set[Origin]:
        positions = {part: self._since.get(part.number, 0) for part in self._log.partitions(self._topic)}
        origins = set()
        while found := self._log.read(positions, _READ, 0.0):
            for letter in found:
                positions[letter.partition] = letter.offset + 1
                headers = dict(letter.headers)
                if headers.get("model") == self._model:
                    origins.add((headers["topic"], headers["partition"], headers["offset"]))
        return origins

    def _letter(self, record: StoredRecord, detail: str) -> NewRecord:
        topic, partition, offset = _origin(record)
        headers = (
            ("reason", REASON.encode()),
            ("topic", topic),
            ("partition", partition),
            ("offset", offset),
            ("detail", detail.encode(errors="replace")),
            ("model", self._model),
        )
        return NewRecord(record.key, record.value, headers)


def _origin(record: StoredRecord) -> Origin:
    topic: Partition = record.partition
    return topic.topic.encode(), str(topic.number).encode(), str(record.offset).encode()
