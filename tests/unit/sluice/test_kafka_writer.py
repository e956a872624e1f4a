"""Appending: delivery reports, and a producer that is broken for good."""

import pytest
from confluent_kafka import KafkaError

from sluice.errors import SluiceError, StorageUnavailable
from sluice.events import NewRecord
from sluice.kafka.writer import Writer

RECORDS = [NewRecord(b"%d" % number, b"v", partition=number) for number in range(3)]


class ReportingProducer:
    """Takes records and reports them at the next poll, the last one with ``error``."""

    def __init__(self, error: KafkaError | None) -> None:
        self._error, self._reports = error, []
        self.taken: list[tuple[bytes, int]] = []

    def produce(self, topic, value, key, partition, on_delivery, headers=None) -> None:
        self.taken.append((key, partition))
        self._reports.append(on_delivery)

    def poll(self, timeout_s) -> None:
        if len(self._reports) == len(RECORDS):
            *reports, last = self._reports
            self._reports = []
            for report in reports:
                report(None, None)
            last(self._error, None)

    flush = poll


class Connected:
    """Opens one producer after another."""

    def __init__(self, *producers: ReportingProducer) -> None:
        self.left = list(producers)

    def open(self, kind, settings) -> ReportingProducer:
        return self.left.pop(0)

    def cause(self, error: KafkaError) -> KafkaError:
        return error


def test_named_partitions_wrap_around():
    producer = ReportingProducer(None)
    writer = Writer(Connected(producer), 1_000_000)
    writer.append("items", 2, RECORDS)
    assert producer.taken == [(b"0", 0), (b"1", 1), (b"2", 0)]
    writer.close()


def test_a_record_that_was_not_delivered_is_told_and_the_producer_kept():
    producer = ReportingProducer(KafkaError(KafkaError._MSG_TIMED_OUT))
    writer = Writer(Connected(producer), 1_000_000)
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="append to items"):
            writer.append("items", 3, RECORDS)
    writer.close()


def test_a_producer_that_failed_for_good_is_replaced():
    fatal = KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "out of order", True)
    assert fatal.fatal()
    connection = Connected(ReportingProducer(fatal), ReportingProducer(None))
    writer = Writer(connection, 1_000_000)
    with pytest.raises(StorageUnavailable):
        writer.append("items", 3, RECORDS)
    writer.append("items", 3, RECORDS)
    assert connection.left == []
    writer.close()


def test_what_a_callback_raises_does_not_end_the_delivery_of_reports():
    class Stumbling(ReportingProducer):
        raised = 0

        def poll(self, timeout_s) -> None:
            if self.raised < 3:
                self.raised += 1
                raise RuntimeError("can't start new thread")
            super().poll(timeout_s)

    producer = Stumbling(None)
    writer = Writer(Connected(producer), 1_000_000)
    writer.append("items", 3, RECORDS)
    writer.append("items", 3, RECORDS)
    assert producer.raised == 3
    writer.close()


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (NewRecord(None, b"v"), TypeError),
        (NewRecord("text", b"v"), TypeError),
        (NewRecord(b"k", "text"), TypeError),
        (NewRecord(b"k", bytes(2_000)), SluiceError),
    ],
)
def test_nothing_is_sent_of_a_batch_with_a_record_that_cannot_be(broken, error):
    producer = ReportingProducer(None)
    writer = Writer(Connected(producer), 2_000)
    with pytest.raises(error):
        writer.append("items", 3, [*RECORDS, broken])
    assert producer.taken == []
    writer.close()
