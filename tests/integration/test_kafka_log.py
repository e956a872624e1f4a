"""What the event log does with positions, gaps and topics that only Kafka has."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource

from sluice.errors import InvalidSetting, OffsetOutOfRange, SluiceError
from sluice.events import NewRecord, Partition
from sluice.kafka.log import KafkaLog


@pytest.fixture
def log(kafka):
    log = KafkaLog(kafka)
    yield log
    log.close()


@pytest.fixture
def admin(kafka):
    return AdminClient({"bootstrap.servers": kafka})


@pytest.fixture
def topic(log):
    name = f"interactions-{uuid.uuid4().hex}"
    log.create_topics({name: 2})
    return name


def records(count: int, part: int = 0) -> list[NewRecord]:
    return [NewRecord(b"%d" % number, b"%d" % number, partition=part) for number in range(count)]


def read_twice(log, positions) -> None:
    """What others have may be given first."""
    for _ in range(2):
        log.read(positions, 10, 0.0)


def read_until_refused(log, positions) -> None:
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline:
        log.read(positions, 10, 0.1)


def delete_before(admin, partition: Partition, offset: int) -> None:
    for future in admin.delete_records([TopicPartition(*partition, offset)]).values():
        future.result(10)


def test_a_position_whose_records_were_deleted_is_told_with_what_is_left(log, admin, topic):
    zero, one = log.partitions(topic)
    log.append(topic, records(20))
    log.append(topic, records(5, part=1))
    delete_before(admin, zero, 8)
    with pytest.raises(OffsetOutOfRange) as told:
        read_twice(log, {zero: 3, one: 0})
    error = told.value
    assert (error.topic, error.partition, error.position, error.begin, error.end) == (topic, 0, 3, 8, 20)
    with pytest.raises(OffsetOutOfRange):
        log.read({zero: 3}, 10, 0.0)
    assert log.begin_offsets(topic) == {zero: 8, one: 0}
    assert [each.offset for each in log.read({zero: 8}, 100, 0.0)] == list(range(8, 20))
    found = log.read({zero: 8, one: 0}, 100, 0.0)
    assert len(found) == 17


def test_records_deleted_while_a_reader_stands_before_them_are_told(log, admin, topic):
    zero, _ = log.partitions(topic)
    log.append(topic, records(5))
    assert len(log.read({zero: 0}, 100, 1.0)) == 5
    log.append(topic, records(5))
    delete_before(admin, zero, 9)
    with pytest.raises(OffsetOutOfRange):
        log.read({zero: 2}, 100, 1.0)


def test_a_position_beyond_the_end_is_told_and_nothing_is_read(log, topic):
    zero, one = log.partitions(topic)
    log.append(topic, records(5))
    with pytest.raises(OffsetOutOfRange) as told:
        log.read({zero: 1_000}, 10, 0.0)
    assert (told.value.position, told.value.begin, told.value.end) == (1_000, 0, 5)
    assert len(log.read({zero: 0, one: 0}, 10, 0.0)) == 5
    with pytest.raises(OffsetOutOfRange):
        log.read({zero: 6, one: 0}, 10, 0.0)


def test_gaps_of_transactions_are_read_over_and_their_end_is_an_end(log, kafka, topic):
    zero, _ = log.partitions(topic)
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": topic})
    producer.init_transactions(10)
    for end in (producer.commit_transaction, producer.abort_transaction, producer.commit_transaction):
        producer.begin_transaction()
        for number in range(3):
            producer.produce(topic, b"%d" % number, partition=0)
        producer.flush(10)
        end(10)
    positions, found = {zero: 0}, []
    while got := log.read(positions, 2, 0.0):
        found += got
        positions[zero] = got[-1].offset + 1
    assert [each.value for each in found] == [b"0", b"1", b"2"] * 2
    assert [each.key for each in found] == [b""] * 6
    assert [each.offset for each in found] == [0, 1, 2, 8, 9, 10]
    assert positions != log.end_offsets(topic)
    assert log.read(positions, 10, 0.3) == []
    assert log.read(positions, 10, 0.3) == []
    producer.begin_transaction()
    producer.produce(topic, b"open", partition=0)
    producer.flush(10)
    assert log.read(positions, 10, 0.3) == []
    producer.commit_transaction(10)
    assert [each.value for each in log.read(positions, 10, 5.0)] == [b"open"]


def test_topics_are_created_as_the_log_needs_them(log, admin):
    items, users = f"items-{uuid.uuid4().hex}", f"users-{uuid.uuid4().hex}"
    log.create_topics({items: 3, users: 3}, compacted=[items])
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in (items, users)]
    of_items, of_users = (future.result(10) for future in admin.describe_configs(resources).values())
    assert of_items["cleanup.policy"].value == "compact"
    assert of_items["delete.retention.ms"].value == str(30 * 24 * 3600 * 1000)
    assert of_users["cleanup.policy"].value == "delete"
    assert of_users["message.timestamp.type"].value == "LogAppendTime"


def test_an_unknown_topic_is_told_at_once_with_what_to_do(log):
    nowhere = Partition(f"nowhere-{uuid.uuid4().hex}", 0)
    for work in (
        lambda: log.append(nowhere.topic, records(1)),
        lambda: log.read({nowhere: 0}, 10, 0.0),
    ):
        with pytest.raises(SluiceError, match="does not exist in Kafka; create it with sluice prepare"):
            work()


def test_a_topic_that_is_deleted_while_it_is_used_is_told(log, admin, topic):
    zero, _ = log.partitions(topic)
    log.append(topic, records(3))
    assert len(log.read({zero: 0}, 10, 1.0)) == 3
    for future in admin.delete_topics([topic]).values():
        future.result(10)
    with pytest.raises(SluiceError):
        log.append(topic, records(1))
    with pytest.raises(SluiceError):
        read_until_refused(log, {zero: 3})


def test_a_record_too_large_is_refused_before_anything_is_sent(log, topic):
    with pytest.raises(SluiceError, match=r"message\.max\.bytes"):
        log.append(topic, [*records(3), NewRecord(b"k", bytes(2_000_000))])
    assert set(log.end_offsets(topic).values()) == {0}


def test_a_bad_property_is_named_without_its_value(kafka):
    with pytest.raises(InvalidSetting) as refused:
        KafkaLog(kafka, lambda: {"sasl.mechanizm": "not-to-be-told"})
    assert "sasl.mechanizm" in str(refused.value)
    assert "not-to-be-told" not in str(refused.value)
    with pytest.raises(InvalidSetting) as refused:
        KafkaLog(kafka, lambda: {"socket.timeout.ms": "not-to-be-told"})
    assert "socket.timeout.ms" in str(refused.value)
    assert "not-to-be-told" not in str(refused.value)


def test_threads_read_the_same_partitions_at_their_own_positions(log, topic):
    zero, _ = log.partitions(topic)
    log.append(topic, records(500))

    def read(start: int) -> list[int]:
        position, offsets = start, []
        while found := log.read({zero: position}, 20, 0.0):
            offsets += [each.offset for each in found]
            position = found[-1].offset + 1
        return offsets

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(read, (0, 100, 200, 300)))
    assert results == [list(range(start, 500)) for start in (0, 100, 200, 300)]


def test_readers_beyond_what_is_kept_open_are_opened_again(log, topic):
    names = {f"{topic}-{number}": 1 for number in range(20)}
    log.create_topics(names)
    for name in names:
        log.append(name, records(3))
    for _ in range(2):
        for name in names:
            assert len(log.read({Partition(name, 0): 1}, 10, 0.0)) == 2
