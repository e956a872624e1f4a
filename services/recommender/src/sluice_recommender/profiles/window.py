"""The event ids before a position, read again at the start, so that repeats are known across a restart."""

from collections.abc import Mapping
from typing import Final

from sluice.duplicates import WINDOW, Duplicates
from sluice.errors import InvalidRecord
from sluice.events import EventLog, Partition, StoredRecord
from sluice.records import decode_interaction
from sluice_recommender.profiles.batch import repeats

_CHUNK: Final = 10_000


def read_again(log: EventLog, positions: Mapping[Partition, int]) -> tuple[Duplicates, int]:
    """Return what the window before ``positions`` of the interactions holds, and the newest log time in it (0: none).

    Raises :class:`~sluice.errors.StorageUnavailable` if the log cannot be read.
    """
    duplicates, newest = Duplicates(), 0
    for partition, end in positions.items():
        position = max(0, end - WINDOW)
        while position < end and (records := log.read({partition: position}, _CHUNK, 0.0)):
            for record in records:
                if record.offset < end:
                    _remember(record, duplicates)
                    newest = max(newest, record.timestamp)
            position = records[-1].offset + 1
    return duplicates, newest


def _remember(record: StoredRecord, duplicates: Duplicates) -> None:
    value = record.value or b""
    if b"event_id" not in value and b"\\" not in value:  # the name may be written with escapes
        return
    try:
        repeats(decode_interaction(value), record, duplicates)
    except InvalidRecord:
        return  # a dead letter has no id
