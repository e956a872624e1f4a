"""What the event log does with positions, gaps and topics that only Kafka has."""

import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic
from foreign import produce

from sluice import models
from sluice.errors import InvalidSetting, OffsetOutOfRange, SluiceError
from sluice.events import NewRecord, Partition
from sluice.kafka.connection import Connection
from sluice.kafka.log import KafkaLog
from sluice.kafka.policies import policies
from sluice.kafka.records import Columns
from sluice.prepare import prepare
from sluice.settings import Settings


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


class Owner:
    """Takes what a group assigns."""

    def __init__(self):
        self.owned = []

    def assigned(self, partitions):
        self.owned = list(partitions)

    def revoked(self, partitions):
        self.owned = []

    lost = revoked


def read_all(read, position: int) -> list:
    """What ``read`` gives from ``position`` up to the record ``b"last"``."""
    found, deadline = [], time.monotonic() + 20.0
    while not found or found[-1].value != b"last":
        assert time.monotonic() < deadline
        found += read(found[-1].offset + 1 if found else position)
    return found


def test_a_header_whose_name_is_no_text_costs_a_record_its_headers_and_stops_nobody(log, kafka, topic):
    zero, _ = log.partitions(topic)
    log.append(topic, [NewRecord(b"a", b"first", (("kind", b"good"),), partition=0)])
    produce(kafka, topic, b"b", b"foreign", [(b"kind", b"bad"), (b"\xff\xfe", b"x")])
    log.append(topic, [NewRecord(b"c", b"last", (("kind", b"good"),), partition=0)])
    expected = [(b"first", (("kind", b"good"),)), (b"foreign", ()), (b"last", (("kind", b"good"),))]
    found = read_all(lambda at: log.read({zero: at}, 10, 1.0), 0)
    assert [(each.value, each.headers) for each in found] == expected

    owner = Owner()
    member = log.join(f"group-{topic}", [topic], owner)
    try:
        found = read_all(lambda at: member.read({zero: at} if zero in owner.owned else {}, 10, 0.2), 0)
        assert [(each.value, each.headers) for each in found] == expected
    finally:
        member.close()


def test_what_the_client_cannot_give_is_an_error_each_time_and_never_passed_over(log, topic, monkeypatch):
    zero, _ = log.partitions(topic)
    log.append(topic, records(5))
    assert len(log.read({zero: 0}, 10, 1.0)) == 5
    log.append(topic, records(5))

    def broken(columns, messages):
        raise SystemError("returned a result with an exception set")

    with monkeypatch.context() as patch:
        patch.setattr(Columns, "records", broken)
        for _ in range(3):
            with pytest.raises(SystemError):
                log.read({zero: 5}, 10, 5.0)
    assert [each.offset for each in log.read({zero: 5}, 10, 5.0)] == list(range(5, 10))


def test_a_topic_that_was_deleted_or_made_anew_is_asked_for_as_it_is_now(log, admin, topic):
    assert len(log.end_offsets(topic)) == 2
    for future in admin.delete_topics([topic]).values():
        future.result(10)
    other = KafkaLog(log._connection._servers)
    until(lambda: other.end_offsets(topic) == {})
    until(lambda: log.end_offsets(topic) == {})
    assert log.partitions(topic) == []
    assert log.offsets_at(topic, 0) == log.begin_offsets(topic) == {}
    other.create_topics({topic: 3})
    assert len(log.end_offsets(topic)) == 3
    assert log.partitions(topic) == sorted(log.end_offsets(topic))
    log.append(topic, records(1))
    for future in admin.delete_topics([topic]).values():
        future.result(10)
    until(lambda: KafkaLog(other._connection._servers).partitions(topic) == [])
    other.create_topics({topic: 1})
    assert log.offsets_at(topic, 0) == {Partition(topic, 0): 0}
    other.close()


def until(condition) -> None:
    deadline = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_policies_tell_whose_clock_a_topic_follows(log, admin, kafka, topic):
    theirs = f"theirs-{topic}"
    for future in admin.create_topics([NewTopic(theirs, num_partitions=1, replication_factor=1)]).values():
        future.result(10)
    until(lambda: log.partitions(theirs) != [])
    found = policies(Connection(kafka, dict), [topic, theirs])
    assert found[topic] == {"cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"}
    assert found[theirs] == {"cleanup.policy": "delete", "message.timestamp.type": "CreateTime"}


def test_prepare_warns_of_topics_that_follow_producers_clocks(kafka, admin, tmp_path):
    source = f"shop-{uuid.uuid4().hex}"
    theirs = [NewTopic(f"{source}.{name}", num_partitions=1) for name in ("interactions", "items")]
    for future in admin.create_topics(theirs).values():
        future.result(10)
    spec = {"algorithm": {"type": "CoVisitation"}, "source": {"name": source}}
    model = {
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "RecommenderModel",
        "metadata": {"name": "home"},
        "spec": spec,
    }
    settings = Settings(home=str(tmp_path), kafka=kafka)
    told = prepare(settings, [models.parse(json.dumps(model).encode(), "model.yaml")], 1)
    warnings = sorted(each.sentence.partition(",")[0] for each in told if each.warning)
    assert warnings == [
        f"topic {source}.interactions has message.timestamp.type=CreateTime",
        f"topic {source}.items has cleanup.policy=delete",
    ]
