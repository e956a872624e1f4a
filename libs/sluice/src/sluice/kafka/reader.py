"""Reading partitions at given positions, with what one Kafka consumer fetches ahead."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from sluice.errors import OffsetOutOfRange, StorageUnavailable
from sluice.events import Partition, StoredRecord
from sluice.kafka import failures
from sluice.kafka.connection import ANSWER_S, REQUEST_S
from sluice.kafka.latch import Latch
from sluice.kafka.records import Columns
from sluice.kafka.shares import Shares

SETTINGS: Final[Mapping[str, Any]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,  # tells "nothing there" from "not asked yet"
    "fetch.wait.max.ms": 100,  # a seek waits for a fetch under way
    "fetch.min.bytes": 65_536,
    "fetch.queue.backoff.ms": 5,  # the default of a second halves the throughput and more [M]
    "queued.min.messages": 20_000,
    "queued.max.messages.kbytes": 16_384,
}
CHUNK: Final = 1_000
"""Small reads take so many at once and keep the rest, to give each partition its share."""
SETTLE_S: Final = 0.25
"""After a seek, records wait so long for those of other partitions."""
_TURN_S: Final = 0.1
_FRESH_S: Final = 0.1
_TAIL_S: Final = 1.0
_AGAIN_S: Final = 0.05

Ends = Callable[[Collection[Partition]], Mapping[Partition, int]]

_log = structlog.get_logger()


class Reader:
    """Reads with ``consumer`` wherever it is told to; what was fetched ahead stays while positions go on.

    An empty answer is the truth, of a tenth of a second ago at most: each partition was seen read to its end,
    which ``ends`` tells sooner than fetching does, and whose error says that nobody answers. Who waits that
    long is told by fetching: then it is asked once a second. Used by one thread at a time.
    """

    def __init__(self, consumer: Consumer, ends: Ends, latch: Latch) -> None:
        self._consumer, self._ends, self._latch = consumer, ends, latch
        self._shares, self._stopped = Shares(), False
        self._forget()

    def stop(self) -> None:
        """Give up all positions and records; the next :meth:`read` assigns its partitions anew."""
        self._forget()
        self._stopped = True

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def _forget(self) -> None:
        self._next: dict[Partition, int] = {}
        self._silent: set[Partition] = set()  # told nothing since they were positioned
        self._at_end: set[Partition] = set()  # had nothing more when last looked at
        self._passed: dict[Partition, int] = {}  # up to where there is nothing more to give, gaps included
        self._astray: set[Partition] = set()  # positioned where the log has nothing
        self._cut: set[Partition] = set()  # those of them whose log lost what was read of it
        self._columns = Columns(())
        self._shares.clear()
        self._paused, self._settled_at, self._looked_at = False, 0.0, 0.0

    def read(self, positions: Mapping[Partition, int], limit: int, timeout_s: float) -> list[StoredRecord]:
        """See :class:`~sluice.events.EventLog`; also returns nothing if :meth:`stop` was called meanwhile."""
        started = time.monotonic()
        self._latch.check(positions)
        self._move(positions)
        self._stopped = False
        patience_s = timeout_s
        while True:
            found = self._take(limit, self._wait(started + patience_s))
            if self._stopped:
                return []
            self._judge(found)
            if found:
                self._latch.look_again(positions, self._next)
                return found
            waited = time.monotonic() - started
            if not self._shares.count and waited >= timeout_s:
                if self._is_empty(waited):
                    return []
                patience_s = ANSWER_S

    def keep_alive(self) -> None:
        """Hear what the group has to say; a record that comes with it is kept for the next :meth:`read`."""
        if self._shares.count >= CHUNK and not self._paused:  # going on after a pause takes a second
            self._consumer.pause(_at(self._next))
            self._paused = True
        self._stopped = False
        records, _ends = self._fetch(1, 0.0)
        if records and not self._stopped:
            self._shares.put(records)

    # Positions

    def _move(self, positions: Mapping[Partition, int]) -> None:
        if self._paused:
            self._consumer.resume(_at(self._next))
            self._paused = False
        if positions == self._next:
            return
        if positions.keys() != self._next.keys():
            self._assign(positions)
            return
        moved = {each: at for each, at in positions.items() if self._next[each] != at}
        try:
            for place in _at(moved):
                self._consumer.seek(place)
        except KafkaException:  # not being fetched yet, or no longer
            self._assign(positions)
        else:
            self._positioned(moved)

    def _assign(self, positions: Mapping[Partition, int]) -> None:
        self._forget()
        self._latch.look(positions)
        self._consumer.assign(_at(positions))
        self._columns = Columns(positions.keys())
        self._positioned(positions)

    def _positioned(self, positions: Mapping[Partition, int]) -> None:
        self._next.update(positions)
        self._silent.update(positions)
        self._at_end.difference_update(positions)
        self._astray.difference_update(positions)
        self._cut.difference_update(positions)
        self._shares.drop(positions)
        for partition in positions:
            self._passed.pop(partition, None)
        self._settled_at = time.monotonic() + SETTLE_S

    # Records

    def _wait(self, until: float) -> float:
        """Return how long to wait for the next message now."""
        if self._shares.count:
            until = self._settled_at if self._silent else 0.0
        return max(0.0, min(_TURN_S, until - time.monotonic()))

    def _take(self, limit: int, wait_s: float) -> list[StoredRecord]:
        """Return records and note where they end; large reads get what was fetched as it is."""
        most = max(limit, CHUNK)
        records, nexts = self._fetch(max(1, most - self._shares.count), wait_s)
        if self._stopped:
            return []
        self._at_end.difference_update(nexts)
        self._silent.difference_update(nexts)
        if self._silent or self._shares.count or len(records) > limit:
            self._shares.put(records)
            if self._shares.count < most and self._is_settling():
                return []
            records = self._shares.take(limit)
            nexts = {record.partition: record.offset + 1 for record in records}
        self._next.update(nexts)
        return records

    def _is_settling(self) -> bool:
        """Return whether records of other partitions are to be expected at once."""
        if self._silent and self._shares.count:
            self._look_at_ends()
        return bool(self._silent) and time.monotonic() < self._settled_at

    def _fetch(self, limit: int, wait_s: float) -> tuple[list[StoredRecord], dict[Partition, int]]:
        """Return what is there; if nothing is, wait for one message and what came with it.

        After an error all is fetched anew: the consumer may have passed records that nobody was given.
        """
        try:
            return self._consume(limit, wait_s)
        except KafkaException as error:
            self._forget()
            raise failures.unavailable("read", error) from error
        except BaseException:
            self._forget()
            raise

    def _consume(self, limit: int, wait_s: float) -> tuple[list[StoredRecord], dict[Partition, int]]:
        messages = self._consumer.consume(limit, 0.0)
        if not messages and wait_s > 0.0 and (first := self._consumer.poll(wait_s)) is not None:
            messages = [first, *(self._consumer.consume(limit - 1, 0.0) if limit > 1 else ())]
        if self._stopped:
            return [], {}
        if any(map(Message.error, messages)):
            messages = self._without_errors(messages)
        return self._columns.records(messages) if messages else ([], {})

    def _without_errors(self, messages: Sequence[Message]) -> list[Message]:
        for message in messages:
            if (error := message.error()) is not None:
                self._heed(error, message)
        return [message for message in messages if message.error() is None]

    def _heed(self, error: KafkaError, message: Message) -> None:
        partition = Partition(message.topic() or "", message.partition() or 0)
        if error.code() == KafkaError._PARTITION_EOF:
            self._silent.discard(partition)
            self._at_end.add(partition)
            self._passed[partition] = message.offset() or 0
        elif error.code() in failures.OUT_OF_RANGE:
            self._astray.add(partition)
            if error.code() == KafkaError._LOG_TRUNCATION:
                self._cut.add(partition)
        elif error.code() in failures.UNKNOWN_TOPIC:
            raise failures.unknown_topic(partition.topic)
        elif error.code() in failures.NOT_ALLOWED and partition.topic:
            raise failures.unavailable(f"read {partition.topic}", error)
        else:
            _log.warning("the client of the brokers reports", detail=error.str())

    # Ends and limits

    def _judge(self, found: Sequence[StoredRecord]) -> None:
        """Raise for a partition that is positioned outside of what the log holds, unless that has passed."""
        given = {record.partition for record in found} if self._astray else ()
        for partition in [each for each in self._astray if each not in given and not self._shares.has(each)]:
            position = self._next[partition]
            begin, end = self._limits(partition)
            if position < begin:
                raise OffsetOutOfRange(*partition, position, begin, end)
            if position > end or partition in self._cut:
                raise self._latch.refuse(partition, position, begin, end)
            _log.info("position found again", position=f"{partition.topic}[{partition.number}] {position}")
            self._assign(dict(self._next))
            time.sleep(_AGAIN_S)

    def _limits(self, partition: Partition) -> tuple[int, int]:
        try:
            limits = self._consumer.get_watermark_offsets(TopicPartition(*partition), REQUEST_S)
        except KafkaException as error:
            raise failures.unavailable(f"tell the offsets of {partition.topic}", error) from error
        if limits is None:
            raise StorageUnavailable(f"Kafka did not tell the offsets of {partition.topic} in time")
        return limits

    def _is_empty(self, waited: float) -> bool:
        """Return whether all partitions are read to their ends; raises if they give nothing for too long."""
        fresh_s = _FRESH_S if waited < _FRESH_S else _TAIL_S
        if time.monotonic() - self._looked_at > fresh_s:
            self._at_end.clear()
        if self._next.keys() - self._at_end:
            self._look_at_ends()
        if not (behind := self._next.keys() - self._at_end):
            return True
        if waited >= ANSWER_S:
            raise StorageUnavailable(f"Kafka gave nothing of {_names(behind)} in {ANSWER_S:.0f} s")
        return False

    def _look_at_ends(self) -> None:
        """Note who is at the end; who is beyond is left to be found astray."""
        self._looked_at = time.monotonic()
        unknown = self._next.keys() - self._at_end
        ends = self._ends(unknown)
        there = {each for each in unknown if max(self._next[each], self._passed.get(each, 0)) == ends[each]}
        self._at_end |= there
        self._silent -= there


def _at(positions: Mapping[Partition, int]) -> list[TopicPartition]:
    return [TopicPartition(topic, number, at) for (topic, number), at in positions.items()]


def _names(partitions: Iterable[Partition]) -> str:
    return ", ".join(f"{topic}[{number}]" for topic, number in sorted(partitions))
