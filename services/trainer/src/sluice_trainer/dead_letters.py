"""Writes events that the learner refused to the dead-letter topic, once per origin however often replayed.

A checkpoint holds how far the topic reached, so the letters behind that belong to plans that a replay may
carry out again; their origins are looked up before the first letter is written, and not written a second time.
"""

from collections.abc import Sequence
from typing import Final

from sluice.dead_letters import Origin, letter, letters, named_by, origin_of
from sluice.events import EventLog, StoredRecord
from sluice_trainer.batch import origin
from sluice_trainer.refusing import Refused

REASON: Final = "not-finite"


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
        told = [(of[origin(each.key)], each.detail) for each in refused]
        new = [each for each in told if origin_of(each[0]) not in self._written]
        if new:
            written, self._written = self._written, None  # if appending fails, nobody knows
            model = ("model", self._model)
            self._log.append(self._topic, [letter(record, REASON, detail, model) for record, detail in new])
            self._written = written | {origin_of(record) for record, _ in new}

    def ends(self) -> dict[int, int]:
        """Return how far the topic reaches now, by partition number."""
        return {part.number: end for part, end in self._log.end_offsets(self._topic).items()}

    def _read(self) -> set[Origin]:
        positions = {part: self._since.get(part.number, 0) for part in self._log.partitions(self._topic)}
        own = (each for each in letters(self._log, positions) if ("model", self._model) in each.headers)
        return {found for each in own if (found := named_by(each)) is not None}
