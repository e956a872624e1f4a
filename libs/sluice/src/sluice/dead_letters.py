"""Letters of the dead-letter topic: the record that nobody may apply, with headers that say which and why.

A letter lies in the partition that has the number of its record's, so that whoever has a partition to read finds
the letters of its records in one place. Who writes what, and how a crash doubles no letter, is the business of the
writers: the profiles processes and the trainers.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from sluice.events import EventLog, NewRecord, Partition, StoredRecord
from sluice.positions import at, read_to

LARGEST: Final = 512 * 1024
LARGEST_KEY: Final = 4 * 1024
_READ: Final = 1_000
_PARTITION_DIGITS: Final = 9
_OFFSET_DIGITS: Final = 19
"""More than that is no number of a log's; int() raises for thousands of them."""


class Origin(NamedTuple):
    """Where a record lies that a letter stands for."""

    partition: Partition
    offset: int


def origin_of(record: StoredRecord) -> Origin:
    """Return a record's own place."""
    return Origin(record.partition, record.offset)


def letter(record: StoredRecord, reason: str, detail: str, *more: tuple[str, bytes]) -> NewRecord:
    """Return the letter for ``record``: ``reason`` is a stable word, ``more`` are further headers.

    Headers come on top of what the log has taken already, so a very large key or value is cut; a header says so.
    """
    if len(record.key) + len(record.value or b"") > LARGEST:
        size = len(record.key) + len(record.value or b"")
        more = (*more, ("cut", b"%d" % size))
        record = record._replace(key=record.key[:LARGEST_KEY], value=(record.value or b"")[:LARGEST])
    headers = (
        ("reason", reason.encode()),
        ("topic", record.partition.topic.encode()),
        ("partition", b"%d" % record.partition.number),
        ("offset", b"%d" % record.offset),
        ("detail", detail.encode(errors="replace")),
        *more,
    )
    return NewRecord(record.key, record.value, headers, record.partition.number)


def named_by(found: StoredRecord) -> Origin | None:
    """Return the origin that a letter names; None for one that somebody else wrote in another form."""
    headers = dict(found.headers)
    topic, part, offset = (headers.get(name, b"") for name in ("topic", "partition", "offset"))
    if not (_is_number(part, _PARTITION_DIGITS) and _is_number(offset, _OFFSET_DIGITS)):
        return None
    return Origin(Partition(topic.decode(errors="replace"), int(part)), int(offset))


def _is_number(header: bytes, digits: int) -> bool:
    return len(header) <= digits and header.isdigit()


def letters(log: EventLog, positions: Mapping[Partition, int]) -> Iterator[StoredRecord]:
    """Give every letter from ``positions`` to the ends of the topic.

    A position that the topic does not hold any more begins anew: letters that were deleted cannot be doubled, and
    of a topic created anew all letters are looked at.
    """
    for topic in {partition.topic for partition in positions}:
        begins, ends = log.begin_offsets(topic), log.end_offsets(topic)
        held = {
            each: position if at(begins, each) <= position <= at(ends, each) else begins[each]
            for each, position in positions.items()
            if each.topic == topic
        }
        for found in read_to(log, held, ends, _READ):
            yield from found
