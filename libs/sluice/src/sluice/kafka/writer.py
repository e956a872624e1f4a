"""Appending with one idempotent producer for all threads of a process."""

import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from sluice.errors import SluiceError, StorageUnavailable
from sluice.events import NewRecord
from sluice.kafka import failures
from sluice.kafka.connection import ANSWER_S, REQUEST_S, Connection

SETTINGS: Final[Mapping[str, Any]] = {
    "enable.idempotence": True,  # which means acks=all, and order kept through retries
    "partitioner": "murmur2_random",  # as Java's default, so that other producers agree
    "linger.ms": 1,
    "delivery.timeout.ms": int(REQUEST_S * 1e3),
}
_BY_KEY: Final = -1
_POLL_S: Final = 0.2
_FULL_S: Final = 0.005
_OVERHEAD: Final = 512
"""What a message takes beside its key, value and headers, generously."""

_log = structlog.get_logger()


class Writer:
    """Appends records and waits until all in-sync replicas have them."""

    def __init__(self, connection: Connection, largest: int) -> None:
        self._connection, self._largest = connection, largest
        self._lock = threading.Lock()
        self._producer: Producer | None = None
        self._stopping = threading.Event()

    def append(self, topic: str, parts: int, records: Sequence[NewRecord]) -> None:
        """Append ``records`` in order to a topic of so many partitions.

        All are looked at before the first is sent. After :class:`StorageUnavailable` the topic may hold any of them, or
        come to hold them: who sends again needs an ``event_id``.
        """
        for record in records:
            self._check(topic, record)
        producer, receipt = self.open(), _Receipt(len(records))
        deadline = time.monotonic() + ANSWER_S
        try:
            for record in records:
                _produce(producer, topic, parts, record, receipt, deadline)
        except KafkaException as error:
            raise self._failed(topic, producer, error.args[0]) from error
        if not receipt.wait(max(0.0, deadline - time.monotonic())):
            raise self._failed(topic, producer, KafkaError(KafkaError._TIMED_OUT))
        if receipt.error is not None:
            raise self._failed(topic, producer, receipt.error)

    def _check(self, topic: str, record: NewRecord) -> None:
        if not isinstance(record.key, bytes) or not isinstance(record.value, bytes | None):
            raise TypeError(f"a record for {topic} needs a key of bytes and a value of bytes or None")
        size = len(record.key) + len(record.value or b"") + _OVERHEAD
        size += sum(len(name) * 4 + len(value) for name, value in record.headers)
        if size > self._largest:
            raise failures.too_large(topic, size, self._largest)

    def _failed(self, topic: str, producer: Producer, error: KafkaError) -> SluiceError:
        if error.fatal() or error.code() == KafkaError._FATAL:
            self._replace(producer, error)
        if error.code() in failures.UNKNOWN_TOPIC:
            return failures.unknown_topic(topic)
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return failures.too_large(topic, self._largest, self._largest)
        return failures.unavailable(f"append to {topic}", self._connection.cause(error))

    def open(self) -> Producer:
        """Return the producer, which connects in the background."""
        with self._lock:
            if self._producer is None:
                self._producer = self._connection.open(Producer, SETTINGS)
                stopping = self._stopping = threading.Event()
                weakref.finalize(self, stopping.set)
                arguments = (self._producer, stopping)
                threading.Thread(target=_poll, args=arguments, name="kafka-producer", daemon=True).start()
            return self._producer

    def _replace(self, producer: Producer, error: KafkaError) -> None:
        """Let go of a producer whose sequence is broken for good; the next append opens another."""
        with self._lock:
            if self._producer is producer:
                _log.warning("producer replaced", reason=error.str())
                self._stopping.set()
                self._producer = None

    def close(self) -> None:
        """Stop; whatever was appended is acknowledged."""
        with self._lock:
            self._stopping.set()
            self._producer = None


class _Receipt:
    """Counts the delivery reports of one call; all come in the polling thread, one after another."""

    def __init__(self, count: int) -> None:
        self._left, self._all = count, threading.Event()
        self.error: KafkaError | None = None

    def note(self, error: KafkaError | None, _message: Message | None) -> None:
        if error is not None and self.error is None:
            self.error = error
        self._left -= 1
        if self._left == 0:
            self._all.set()

    def wait(self, timeout_s: float) -> bool:
        return self._all.wait(timeout_s)


def _produce(
    producer: Producer, topic: str, parts: int, record: NewRecord, receipt: _Receipt, deadline: float
) -> None:
    """Hand one record to the producer; waits while its queue is full, until ``deadline``."""
    part = _BY_KEY if record.partition is None else record.partition % parts
    headers: list[tuple[str, str | bytes | None]] | None = [*record.headers] or None
    while True:
        try:
            return producer.produce(topic, record.value, record.key, part, receipt.note, headers=headers)
        except BufferError as error:
            if time.monotonic() > deadline:
                raise StorageUnavailable(f"Kafka takes no more records for {topic} now") from error
            time.sleep(_FULL_S)


def _poll(producer: Producer, stopping: threading.Event) -> None:
    """Deliver reports until the writer stops, then those that are still to come.

    What a callback raises comes out here; without this thread no append would ever hear of its delivery.
    """
    while not stopping.is_set():
        try:
            producer.poll(_POLL_S)
        except Exception as error:
            with suppress(Exception):  # it may be logging that fails
                _log.error("delivery reports could not be taken", reason=repr(error))
            stopping.wait(_FULL_S)
    with suppress(Exception):
        producer.flush(_POLL_S)
