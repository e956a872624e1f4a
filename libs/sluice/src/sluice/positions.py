"""What to do when a position is outside what the log holds: the same rule for every reader.

Records before the first one kept are deleted, and no waiting brings them back: reading goes on at the first one
kept, and what was lost is counted and told. A position beyond the end is another matter: the topic was cut off
or created anew, and nobody knows what its offsets mean now. Going on anywhere would apply records twice or skip
some, so nothing is read until somebody has looked. The log remembers that for the life of the process, however
far the topic grows meanwhile.

Its limit: a topic that had grown past the position before anybody read it looks whole. A process that read it
before knows it by its id; one that was started since cannot tell, and goes on in the middle.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

import structlog

from sluice import instruments, metrics
from sluice.errors import OffsetOutOfRange, StorageUnavailable
from sluice.events import EventLog, Partition, StoredRecord

_log = structlog.get_logger()


def at(offsets: Mapping[Partition, int], partition: Partition) -> int:
    """Return the offset of ``partition``; raises :class:`StorageUnavailable` where the log told none.

    A group may assign a partition that was added a moment ago, of which another connection does not know yet.
    """
    if partition not in offsets:
        raise StorageUnavailable(
            f"the log does not tell offsets of {partition.topic}[{partition.number}]: it was added or removed just now"
        )
    return offsets[partition]


def resumed(positions: Mapping[Partition, int], error: OffsetOutOfRange) -> dict[Partition, int]:
    """Return ``positions`` with the refused one at the first record kept; counts and tells what was lost.

    Raises :class:`StorageUnavailable` for a position beyond the end.
    """
    partition = Partition(error.topic, error.partition)
    if error.position > error.end:
        raise StorageUnavailable(
            f"{error.topic}[{error.partition}] ends at {error.end}, before position {error.position}: it was cut"
            " off or created anew; nothing is read from it until it is restored or the position is reset, and this"
            " process is started again"
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


def require_siblings(
    partitions: Iterable[Partition], committed: Mapping[Partition, int], topics: Collection[str]
) -> None:
    """Raise :class:`StorageUnavailable` for a partition whose position went with its topic.

    Positions of equal numbers of ``topics`` are committed together, so one that is missing beside others was dropped
    by the log when its topic was deleted. Begun again, its records would be taken for known ones.
    """
    for partition in partitions:
        others = {Partition(topic, partition.number) for topic in topics} - {partition}
        if partition not in committed and others & committed.keys():
            raise StorageUnavailable(
                f"{partition.topic}[{partition.number}] has no position although others of its number have: its topic"
                " was created anew; give the source another name"
            )


def read_to(
    log: EventLog, positions: Mapping[Partition, int], ends: Mapping[Partition, int], limit: int
) -> Iterator[list[StoredRecord]]:
    """Give, in lots of up to ``limit``, the records of ``positions`` before ``ends``.

    The same partitions are read until all are at their ends, for a log fetches them ahead. Offsets need not be
    gapless: a log that gives nothing has nothing there.
    """
    reading = dict(positions)
    while wanted := {each: position for each, position in reading.items() if position < at(ends, each)}:
        found = log.read(reading, limit, 0.0)
        if not any(record.partition in wanted for record in found):
            found = log.read(wanted, limit, 0.0)
        if not found:
            return
        reading.update({record.partition: record.offset + 1 for record in found})
        yield [record for record in found if record.offset < ends[record.partition]]
