"""What to do when a position is outside what the log holds: the same rule for every reader.

Records before the first one kept are deleted, and no waiting brings them back: reading goes on at the first one
kept, and what was lost is counted and told. A position beyond the end is another matter: the topic was cut off
or created anew, and nobody knows what its offsets mean now. Going on anywhere would apply records twice or skip
some, so nothing is read until somebody has looked.
"""

from collections.abc import Iterator, Mapping

import structlog

from sluice import instruments, metrics
from sluice.errors import OffsetOutOfRange, StorageUnavailable
from sluice.events import EventLog, Partition, StoredRecord

_log = structlog.get_logger()


def resumed(positions: Mapping[Partition, int], error: OffsetOutOfRange) -> dict[Partition, int]:
    """Return ``positions`` with the refused one at the first record kept; counts and tells what was lost.

    Raises :class:`StorageUnavailable` for a position beyond the end.
    """
    partition = Partition(error.topic, error.partition)
    if error.position > error.end:
        raise StorageUnavailable(
            f"{error.topic}[{error.partition}] ends at {error.end}, before position {error.position}: it was cut"
            " off or created anew; nothing is read from it until it is restored or the position is reset"
        ) from error
    lost = max(0, error.begin - error.position)
    instruments.counter(metrics.LOST).labels(error.topic, error.partition).inc(lost)
    _log.error(
        "records were deleted before they were read",
        topic=error.topic,
        partition=error.partition,
        position=error.position,
        begin=error.begin,
        lost=lost,
    )
    return {**positions, partition: error.begin}


def read_to(
    log: EventLog, positions: Mapping[Partition, int], ends: Mapping[Partition, int], limit: int
) -> Iterator[list[StoredRecord]]:
    """Give, in lots of up to ``limit``, the records of ``positions`` before ``ends``.

    The same partitions are read until all are at their ends, for a log fetches them ahead. Offsets need not be
    gapless: a log that gives nothing has nothing there.
    """
    at = dict(positions)
    while wanted := {each: position for each, position in at.items() if position < ends[each]}:
        found = log.read(at, limit, 0.0)
        if not any(record.partition in wanted for record in found):
            found = log.read(wanted, limit, 0.0)
        if not found:
            return
        at.update({record.partition: record.offset + 1 for record in found})
        yield [record for record in found if record.offset < ends[record.partition]]
