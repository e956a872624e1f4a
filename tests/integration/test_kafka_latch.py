"""A topic that was cut off or created anew stays refused, however far it grows before it is read again."""

import threading
import time
import uuid

import pytest
from confluent_kafka.admin import AdminClient

from sluice.errors import OffsetOutOfRange, StorageUnavailable
from sluice.events import NewRecord, Partition
from sluice.kafka import latch
from sluice.kafka.log import KafkaLog
from sluice.positions import resumed

DEADLINE_S = 20.0


@pytest.fixture
def log(kafka):
    log = KafkaLog(kafka)
    yield log
    log.close()


@pytest.fixture
def other(kafka):
    """Another process' log: its client learns of a topic created anew by itself."""
    other = KafkaLog(kafka)
    yield other
    other.close()


@pytest.fixture
def topic(log):
    name = f"interactions-{uuid.uuid4().hex}"
    log.create_topics({name: 1})
    return name


def records(count: int) -> list[NewRecord]:
    return [NewRecord(b"%d" % number, b"%d" % number, partition=0) for number in range(count)]


def created_anew(kafka: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.delete_topics([topic])[topic].result(10)
    log, deadline = KafkaLog(kafka), time.monotonic() + DEADLINE_S
    while log.partitions(topic):
        log._cluster.forget(topic)
        assert time.monotonic() < deadline
    log.create_topics({topic: 1})
    log.close()


def refused(read) -> OffsetOutOfRange:
    """Return the refusal of ``read``; nothing may be given before it."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            given = read()
        except OffsetOutOfRange as error:
            return error
        except StorageUnavailable:  # the topic is gone just now
            continue
        assert given == []
    raise AssertionError("not refused")


def in_another_thread(work):
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


class Quiet:
    def assigned(self, partitions) -> None:
        self.partitions = partitions

    revoked = lost = assigned


def test_what_was_beyond_the_end_once_stays_refused_when_the_topic_has_grown_past_it(
    kafka, log, other, topic
):
    zero = Partition(topic, 0)
    log.append(topic, records(10))
    assert len(log.read({zero: 0}, 100, 0.0)) == 10
    created_anew(kafka, topic)
    other.append(topic, records(3))
    refused(lambda: log.read({zero: 10}, 100, 0.1))
    other.append(topic, records(30))
    for position in (10, 12):
        error = refused(lambda at=position: log.read({zero: at}, 100, 0.0))
        assert error.position == position
        with pytest.raises(StorageUnavailable, match="cut off or created anew"):
            resumed({zero: position}, error)
        in_another_thread(lambda at=position: refused(lambda: log.read({zero: at}, 100, 0.0)))
    membership = log.join(f"group-{topic}", [topic], Quiet())
    refused(lambda: membership.read({zero: 10}, 100, 0.1))
    membership.close()
    assert len(log.read({zero: 0}, 100, 0.0)) == 33, "who begins anew is given what is there now"


@pytest.mark.parametrize("pause", [True, False], ids=["at the end", "in the middle"])
def test_a_topic_created_anew_that_has_grown_before_anybody_read_is_known_by_its_id(
    kafka, log, other, topic, pause, monkeypatch
):
    monkeypatch.setattr(latch, "EVERY_S", 0.0)  # it is made anew sooner than anybody could by hand
    zero = Partition(topic, 0)
    log.append(topic, records(10))
    assert len(log.read({zero: 0}, 100, 0.0)) == 10
    if pause:
        assert log.read({zero: 10}, 100, 0.0) == []
    created_anew(kafka, topic)
    other.append(topic, records(30))
    error = refused(lambda: log.read({zero: 10}, 100, 0.1))
    with pytest.raises(StorageUnavailable, match="cut off or created anew"):
        resumed({zero: 10}, error)


def test_a_reader_that_waits_asks_for_the_ends_once_a_second_and_is_given_records_at_once(
    log, other, topic, monkeypatch
):
    zero, asked = Partition(topic, 0), []
    other.append(topic, records(1))
    ends = log._cluster.ends_of
    log._readers._ends = lambda partitions: asked.append(partitions) or ends(partitions)
    assert log.read({zero: 1}, 100, 0.2) == []
    before, until, reads = len(asked), time.monotonic() + 2.5, 0
    while time.monotonic() < until:
        assert log.read({zero: 1}, 100, 0.2) == []
        reads += 1
    assert reads >= 5
    assert 1 <= len(asked) - before <= 4
    threading.Timer(0.1, lambda: other.append(topic, records(1))).start()
    assert len(log.read({zero: 1}, 100, 5.0)) == 1
