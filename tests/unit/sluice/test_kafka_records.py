"""Kafka's messages as stored records, and the shares that partitions get of a small read."""

import pytest
from confluent_kafka import Message

from sluice.events import Partition, StoredRecord
from sluice.kafka import records
from sluice.kafka.records import Columns
from sluice.kafka.shares import Shares

ONE, TWO, OTHER = Partition("items", 0), Partition("items", 1), Partition("users", 0)


def message(partition: Partition, offset: int, key=b"k", value=b"v", headers=None) -> Message:
    return Message(
        topic=partition.topic,
        partition=partition.number,
        offset=offset,
        key=key,
        value=value,
        headers=headers,
        timestamp=(2, 1_000 + offset),
    )


def record(partition: Partition, offset: int) -> StoredRecord:
    return StoredRecord(partition, offset, 0, b"k", b"v")


@pytest.mark.parametrize("assigned", [{ONE, TWO}, {ONE, TWO, OTHER}])
def test_messages_become_records_with_the_offset_after_each_partitions_last(assigned):
    messages = [message(ONE, 3), message(TWO, 9), message(ONE, 7)]
    found, nexts = Columns(assigned).records(messages)
    assert found == [
        StoredRecord(ONE, 3, 1_003, b"k", b"v"),
        StoredRecord(TWO, 9, 1_009, b"k", b"v"),
        StoredRecord(ONE, 7, 1_007, b"k", b"v"),
    ]
    assert all(type(each) is StoredRecord for each in found)
    assert nexts == {ONE: 8, TWO: 10}


def test_a_missing_key_is_an_empty_one_and_a_missing_value_a_tombstone():
    found, _ = Columns({ONE}).records([message(ONE, 0, key=None), message(ONE, 1, value=None)])
    assert [(each.key, each.value) for each in found] == [(b"", b"v"), (b"k", None)]


def test_headers_are_kept_where_some_messages_have_none():
    given = [("reason", b"bad-json"), ("empty", None)]
    found, _ = Columns({ONE}).records([message(ONE, 0), message(ONE, 1, headers=given)])
    assert [each.headers for each in found] == [(), (("reason", b"bad-json"), ("empty", b""))]


def test_headers_that_the_client_cannot_give_are_none_and_asked_for_only_once(monkeypatch):
    given = [message(ONE, 0, headers=[("a", b"1")]), *[message(ONE, at) for at in (1, 2, 3)]]
    given += [message(ONE, 4, headers=[("b", b"2")]), message(ONE, 5)]
    headers_of, asked = Message.headers, []

    class Broken:
        """Stands for the class."""

        value, key, offset = Message.value, Message.key, Message.offset
        timestamp, partition, topic = Message.timestamp, Message.partition, Message.topic

        @staticmethod
        def headers(each):
            asked.append(each.offset())
            if each.offset() in (1, 2, 5):
                raise SystemError("returned a result with an exception set")
            return headers_of(each)

    monkeypatch.setattr(records, "Message", Broken)
    found, nexts = Columns({ONE}).records(given)
    assert [each.headers for each in found] == [(("a", b"1"),), (), (), (), (("b", b"2"),), ()]
    assert asked == list(range(6))
    assert nexts == {ONE: 6}


def test_each_partition_gets_its_share_and_the_rest_goes_to_those_that_have_more():
    shares = Shares()
    shares.put([record(ONE, n) for n in range(50)] + [record(TWO, n) for n in range(2)])
    taken = shares.take(10)
    assert [each.offset for each in taken if each.partition == ONE] == list(range(8))
    assert [each.offset for each in taken if each.partition == TWO] == [0, 1]
    assert shares.count == 42


def test_partitions_take_turns_when_not_all_can_give_one():
    shares = Shares()
    shares.put([record(each, n) for each in (ONE, TWO, OTHER) for n in range(2)])
    turns = [shares.take(1)[0].partition for _ in range(6)]
    assert set(turns[:3]) == set(turns[3:]) == {ONE, TWO, OTHER}
    assert shares.take(1) == []
    assert shares.count == 0


def test_dropped_records_are_gone_and_others_stay():
    shares = Shares()
    shares.put([record(ONE, 0), record(TWO, 0)])
    shares.drop([ONE, OTHER])
    assert shares.count == 1
    assert not shares.has(ONE)
    assert shares.take(5) == [record(TWO, 0)]
