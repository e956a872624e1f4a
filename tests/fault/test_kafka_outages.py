"""The event log on a Kafka of its own that stops, comes back, and changes its password."""

import threading
import time
import uuid

import pytest

from sluice import credentials
from sluice.errors import StorageUnavailable
from sluice.events import NewRecord
from sluice.kafka.log import KafkaLog
from sluice_cli.backends import Kafka

WAIT_S = 30.0
MOST_S = 12.0
"""What a call may take at the very most while no broker answers."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory, or_skip):
    broker = Kafka(tmp_path_factory.mktemp("kafka"), secure=True)
    with or_skip():
        broker.start()
    yield broker
    broker.stop()


@pytest.fixture(autouse=True)
def running(broker):
    broker.start()


@pytest.fixture
def log(broker):
    log = KafkaLog(broker.bootstrap)
    yield log
    log.close()


@pytest.fixture
def topic(log):
    name = f"interactions-{uuid.uuid4().hex}"
    log.create_topics({name: 2})
    return name


def eventually(work):
    """What ``work`` returns as soon as the log is available; it is called again until then."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            return work()
        except StorageUnavailable:
            assert time.monotonic() < deadline


def refused_in_time(work) -> str:
    begun = time.monotonic()
    with pytest.raises(StorageUnavailable) as refused:
        work()
    assert time.monotonic() - begun < MOST_S
    return str(refused.value)


def read_all(log, topic) -> list:
    positions, found = dict.fromkeys(log.partitions(topic), 0), []
    while records := log.read(positions, 1000, 0.0):
        for each in records:
            found.append(each)
            positions[each.partition] = each.offset + 1
    return found


def test_a_stopped_broker_is_told_in_time_and_all_goes_on_when_it_is_back(broker, log, topic):
    log.append(topic, [NewRecord(b"k", b"before")])
    positions = log.end_offsets(topic)
    assert log.read(positions, 10, 0.0) == []
    log.commit(f"group-{topic}", positions)
    broker.stop()
    for work in (
        lambda: log.append(topic, [NewRecord(b"k", b"lost")]),
        lambda: log.read(positions, 10, 0.1),
        lambda: log.end_offsets(topic),
        lambda: log.commit(f"group-{topic}", positions),
        lambda: log.committed(f"group-{topic}"),
        lambda: log.create_topics({f"{topic}-2": 1}),
    ):
        refused_in_time(work)
    broker.start()
    eventually(lambda: log.append(topic, [NewRecord(b"k", b"after")]))
    found = eventually(lambda: log.read(positions, 10, 5.0))
    assert found[-1].value == b"after"
    assert eventually(lambda: log.committed(f"group-{topic}")) == positions
    assert {each.value for each in read_all(log, topic)} - {b"lost"} == {b"before", b"after"}


def test_an_append_that_waits_for_a_broker_ends_well_when_it_comes_back_soon(broker, log, topic):
    log.append(topic, [NewRecord(b"k", b"before")])
    broker.kill()
    results = []
    appending = threading.Thread(
        target=lambda: results.append(eventually(lambda: log.append(topic, [NewRecord(b"k", b"after")])))
    )
    appending.start()
    broker.start()
    appending.join(WAIT_S)
    assert results == [None]
    values = [each.value for each in read_all(log, topic)]
    assert values[0] == b"before"
    assert set(values[1:]) == {b"after"}


def test_a_frozen_broker_is_told_in_time(broker, log, topic):
    positions = log.end_offsets(topic)
    assert log.read(positions, 10, 0.0) == []
    log.append(topic, [NewRecord(b"k", b"before")])
    broker.pause()
    try:
        refused_in_time(lambda: log.append(topic, [NewRecord(b"k", b"v")]))
        refused_in_time(lambda: log.end_offsets(topic))
    finally:
        broker.resume()
    eventually(lambda: log.append(topic, [NewRecord(b"k", b"after")]))
    assert eventually(lambda: log.read(positions, 10, 5.0))


def test_a_member_outlives_a_restart_of_the_broker(broker, log, topic):
    told, positions, found = [], {}, []

    class Told:
        def assigned(self, partitions):
            told.append("assigned")
            positions.update(dict.fromkeys(partitions, 0))

        def revoked(self, partitions):
            told.append("revoked")
            positions.clear()

        def lost(self, partitions):
            told.append("lost")
            positions.clear()

    member = log.join(f"group-{topic}", [topic], Told())

    def step() -> None:
        for each in member.read(positions, 10, 0.1):
            found.append(each)
            positions[each.partition] = each.offset + 1

    def until(condition) -> None:
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline
            eventually(step)

    until(lambda: positions)
    log.append(topic, [NewRecord(b"k", b"before")])
    until(lambda: len(found) == 1)
    at = dict(positions)
    broker.stop()
    refused_in_time(lambda: member.commit(at))
    broker.start()
    eventually(lambda: log.append(topic, [NewRecord(b"k", b"after")]))
    until(lambda: found[-1].value == b"after")

    def commit() -> None:
        step()
        member.commit(positions)

    eventually(commit)
    assert eventually(lambda: log.committed(f"group-{topic}")) == positions
    member.close()


def test_a_changed_password_is_used_without_a_restart(broker, topic, tmp_path):
    file = tmp_path / "kafka.properties"

    def write(password: str) -> None:
        file.write_text(
            "security.protocol=SASL_SSL\n"
            "sasl.mechanism=SCRAM-SHA-256\n"
            f"ssl.ca.location={broker.ca_file}\n"
            f"sasl.username=shop\nsasl.password={password}\n"
        )

    broker.set_password("shop", "first-secret")
    write("first-secret")
    log = KafkaLog(broker.secure_bootstrap, lambda: credentials.properties(str(file)))
    log.append(topic, [NewRecord(b"k", b"before")])
    positions = log.end_offsets(topic)
    assert log.read(positions, 10, 0.0) == []
    broker.set_password("shop", "second-secret")
    broker.stop()  # every connection is made anew
    broker.start()
    told = refused_in_time(lambda: log.append(topic, [NewRecord(b"k", b"refused")]))
    assert "login" in told
    assert "login" in refused_in_time(lambda: log.end_offsets(topic))
    refused_in_time(lambda: log.read(positions, 10, 0.0))
    write("second-secret")
    eventually(lambda: log.append(topic, [NewRecord(b"k", b"after")]))
    assert eventually(lambda: log.read(positions, 10, 5.0))[-1].value == b"after"
    assert eventually(lambda: log.end_offsets(topic)) != positions
    log.close()


def test_neither_errors_nor_log_lines_tell_a_password(broker, capfd):
    login = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-256",
        "ssl.ca.location": str(broker.ca_file),
        "sasl.username": "nobody",
        "sasl.password": "not-to-be-told",
    }
    log = KafkaLog(broker.secure_bootstrap, lambda: login)
    told = refused_in_time(lambda: log.partitions("interactions"))
    assert "login" in told
    written = capfd.readouterr()
    assert "not-to-be-told" not in told + written.out + written.err
    log.close()
