"""Letters of the dead-letter topic: the record that nobody may apply, with headers that say which and why.

Who writes what, and how a crash doubles no letter, is the business of the writers: the profiles process and the
trainers.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from sluice.events import EventLog, NewRecord, Partition, StoredRecord

_READ: Final = 1_000


class Origin(NamedTuple):
    """Where a record lies that a letter stands for."""

    partition: Partition
    offset: int


def origin_of(record: StoredRecord) -> Origin:
    """Return a record's own place."""
    return Origin(record.partition, record.offset)


def letter(record: StoredRecord, reason: str, detail: str, *more: tuple[str, bytes]) -> NewRecord:
    """Return the letter for ``record``: ``reason`` is a stable word, ``more`` are further headers."""
    headers = (
        ("reason", reason.encode()),
        ("topic", record.partition.topic.encode()),
        ("partition", b"%d" % record.partition.number),
        ("offset", b"%d" % record.offset),
        ("detail", detail.encode(errors="replace")),
        *more,
    )
    return NewRecord(record.key, record.value, headers)


def named_by(found: StoredRecord) -> Origin | None:
    """Return the origin that a letter names; None for one that somebody else wrote in another form."""
    headers = dict(found.headers)
    topic, part, offset = (headers.get(name, b"") for name in ("topic", "partition", "offset"))
    if not (part.isdigit() and offset.isdigit()):
        return None
    return Origin(Partition(topic.decode(errors="replace"), int(part)), int(offset))


def letters(log: EventLog, positions: dict[Partition, int]) -> Iterator[StoredRecord]:
    """Give every letter from ``positions`` to the end of the topic; the positions move along."""
    while found := log.read(positions, _READ, 0.0):
        for each in found:
            positions[each.partition] = each.offset + 1
            yield each
