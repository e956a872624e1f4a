"""The event log port: partitioned, ordered, durable."""

import runpy
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sluice.errors import SluiceError
from sluice.events import NewRecord, Partition

TOPIC = "shop.interactions"
WAIT_S = 10.0


@pytest.fixture
def log(event_log):
    event_log.create_topics({TOPIC: 3})
    return event_log


def record(key: str, value: str = "v") -> NewRecord:
    return NewRecord(key.encode(), value.encode())


def all_of(log, topic: str = TOPIC) -> list:
    """Every record of a topic, read to its end."""
    positions, ends, found = dict.fromkeys(log.partitions(topic), 0), log.end_offsets(topic), []
    deadline = time.monotonic() + WAIT_S
    while positions != ends:
        assert time.monotonic() < deadline, f"stuck at {positions} of {ends}"
        for each in log.read(positions, 1000, 0.1):
            found.append(each)
            positions[each.partition] = each.offset + 1
    return found


def test_a_topic_has_the_partitions_it_was_created_with(event_log):
    event_log.create_topics({"a": 1, "b": 4})
    assert event_log.partitions("a") == [Partition("a", 0)]
    assert sorted(event_log.partitions("b")) == [Partition("b", number) for number in range(4)]


def test_an_unknown_topic_has_no_partitions_and_takes_nothing(event_log):
    assert event_log.partitions("nowhere") == []
    with pytest.raises(SluiceError):
        event_log.append("nowhere", [record("k")])


def test_creating_topics_again_changes_neither_their_partitions_nor_their_records(log):
    log.append(TOPIC, [record("k", "kept")])
    log.create_topics({TOPIC: 7, "later": 2})
    assert len(log.partitions(TOPIC)) == 3
    assert len(log.partitions("later")) == 2
    assert [each.value for each in all_of(log)] == [b"kept"]


def test_two_openers_may_create_the_same_topics_at_once(event_log_port, at_once):
    for _ in range(12):
        place = event_log_port._new_place()
        logs = [event_log_port._factory(place) for _ in range(4)]
        results = at_once(*[lambda log=log: log.create_topics({TOPIC: 3, "b": 2}) for log in logs])
        assert results == [None] * 4
        assert len(logs[0].partitions(TOPIC)) == 3


def test_equal_keys_go_to_one_partition_in_the_order_of_appending(log):
    sent = [(f"user-{number % 7}", str(number)) for number in range(200)]
    for start in range(0, 200, 40):
        log.append(TOPIC, [record(*each) for each in sent[start : start + 40]])
    found = all_of(log)
    for user in {key for key, _ in sent}:
        theirs = [each for each in found if each.key == user.encode()]
        assert len({each.partition for each in theirs}) == 1
        in_offset_order = sorted(theirs, key=lambda each: each.offset)
        assert [each.value.decode() for each in in_offset_order] == [v for k, v in sent if k == user]
    assert len({each.partition for each in found}) > 1


def test_the_partition_of_a_key_does_not_depend_on_who_opened_the_log(event_log_port, log):
    other = event_log_port.open()
    log.append(TOPIC, [record("me")])
    other.append(TOPIC, [record("me")])
    first, second = all_of(log)
    assert first.partition == second.partition
    assert first.offset < second.offset


def test_a_record_comes_back_as_it_was_given(log):
    given = NewRecord(b"\x00key\xff", b"\x00\xff", (("reason", b"bad-json"), ("reason", b""), ("é", b"\x80")))
    before = time.time_ns() // 1_000_000
    log.append(TOPIC, [given, NewRecord(b"", b""), NewRecord(b"gone", None)])
    found = {each.key: each for each in all_of(log)}
    assert found[b"\x00key\xff"].value == b"\x00\xff"
    assert found[b"\x00key\xff"].headers == given.headers
    assert found[b""].value == b""
    assert found[b""].headers == ()
    assert found[b"gone"].value is None
    assert all(before <= each.timestamp <= time.time_ns() // 1_000_000 for each in found.values())


def test_a_batch_is_appended_whole_or_not_at_all(log):
    log.append(TOPIC, [record("a", "before")])
    with pytest.raises((TypeError, SluiceError)):
        log.append(TOPIC, [record("a"), record("b"), NewRecord(None, b"no key")])  # type: ignore[arg-type]
    assert [each.value for each in all_of(log)] == [b"before"]
    log.append(TOPIC, [record("a", "after")])
    assert [each.value for each in all_of(log)] == [b"before", b"after"]


def test_appending_nothing_changes_nothing(log):
    before = log.end_offsets(TOPIC)
    log.append(TOPIC, [])
    assert log.end_offsets(TOPIC) == before


def test_end_offsets_tell_what_the_next_record_gets(log):
    assert set(log.end_offsets(TOPIC)) == set(log.partitions(TOPIC))
    log.append(TOPIC, [record(str(number)) for number in range(20)])
    ends = log.end_offsets(TOPIC)
    last = {}
    for each in all_of(log):
        last[each.partition] = max(each.offset, last.get(each.partition, -1))
    assert all(last.get(partition, -1) < end for partition, end in ends.items())
    log.append(TOPIC, [record("x")])
    (new,) = log.read(ends, 10, 1.0)
    assert new.offset >= ends[new.partition]


def test_reading_begins_at_the_given_positions_and_touches_no_other_partition(log):
    log.append(TOPIC, [record(str(number)) for number in range(60)])
    everything = all_of(log)
    for partition in log.partitions(TOPIC):
        offsets = sorted(each.offset for each in everything if each.partition == partition)
        start = offsets[len(offsets) // 2]
        found = log.read({partition: start}, 1000, 0.5)
        assert [each.offset for each in found] == [offset for offset in offsets if offset >= start]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 1000])
def test_reading_returns_no_more_than_asked_and_leaves_no_partition_behind(log, limit):
    log.append(TOPIC, [record(str(number)) for number in range(60)])
    positions, found = dict.fromkeys(log.partitions(TOPIC), 0), []
    while len(found) < 60:
        got = log.read(positions, limit, 0.5)
        assert 1 <= len(got) <= limit
        for partition in {each.partition for each in got}:
            offsets = [each.offset for each in got if each.partition == partition]
            assert offsets == sorted(offsets)
            assert offsets[0] == positions[partition]
            positions[partition] = offsets[-1] + 1
        found.extend(got)
    assert positions == log.end_offsets(TOPIC)


@pytest.mark.parametrize("limit", [1, 2, 6])
def test_a_partition_that_never_empties_does_not_starve_another(log, limit):
    log.append(TOPIC, [record("busy", str(number)) for number in range(300)])
    busy = all_of(log)[0].partition
    quiet = next(
        str(number)
        for number in range(100)
        if (log.append(TOPIC, [record(str(number))]) or True)
        and any(each.key == str(number).encode() and each.partition != busy for each in all_of(log))
    )
    positions = dict.fromkeys(log.partitions(TOPIC), 0)
    seen = set()
    for _ in range(10):
        for each in log.read(positions, limit, 0.5):
            positions[each.partition] = each.offset + 1
            seen.add(each.key)
    assert quiet.encode() in seen
    assert b"busy" in seen


def test_reading_an_empty_log_waits_as_long_as_asked_and_returns_nothing(log):
    started = time.monotonic()
    assert log.read(log.end_offsets(TOPIC), 10, 0.15) == []
    took = time.monotonic() - started
    assert 0.15 <= took < 2.0
    started = time.monotonic()
    assert log.read(log.end_offsets(TOPIC), 10, 0.0) == []
    assert time.monotonic() - started < 1.0


def test_a_waiting_reader_gets_what_another_appends(event_log_port, log):
    writer, ends, got = event_log_port.open(), log.end_offsets(TOPIC), []
    reading = threading.Event()

    def read() -> None:
        reading.set()
        got.extend(log.read(ends, 10, WAIT_S))

    thread = threading.Thread(target=read)
    thread.start()
    assert reading.wait(WAIT_S)
    started = time.monotonic()
    writer.append(TOPIC, [record("k", "news")])
    thread.join(WAIT_S)
    assert [each.value for each in got] == [b"news"]
    assert time.monotonic() - started < WAIT_S / 2


def test_a_wait_ends_in_time_although_another_topic_is_busy(event_log_port, log):
    log.create_topics({"other": 1})
    writer, stop = event_log_port.open(), threading.Event()

    def write() -> None:
        while not stop.is_set():
            writer.append("other", [record("k")])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        started = time.monotonic()
        assert log.read(log.end_offsets(TOPIC), 10, 0.2) == []
        assert 0.2 <= time.monotonic() - started < 2.0
    finally:
        stop.set()
        thread.join(WAIT_S)


def test_what_was_appended_is_there_for_the_next_opener(event_log_port, log):
    log.append(TOPIC, [record(str(number), str(number)) for number in range(10)])
    again = event_log_port.open()
    assert all_of(again) == all_of(log)
    assert again.end_offsets(TOPIC) == log.end_offsets(TOPIC)


def test_a_group_finds_again_what_it_committed_last_and_no_other_groups(event_log_port, log):
    zero, one, _ = sorted(log.partitions(TOPIC))
    assert log.committed("trainer") == {}
    log.commit("trainer", {zero: 5, one: 7})
    log.commit("profiles", {zero: 1})
    log.commit("trainer", {zero: 6})
    assert event_log_port.open().committed("trainer") == {zero: 6, one: 7}
    assert log.committed("profiles") == {zero: 1}
    assert log.committed("nobody") == {}


def test_threads_may_append_through_one_log_at_once(log, at_once):
    def writer(name: int) -> None:
        for number in range(50):
            log.append(TOPIC, [record(f"{name}", f"{name}-{number}")])

    assert at_once(*[lambda name=name: writer(name) for name in range(4)]) == [None] * 4
    found = all_of(log)
    assert len(found) == 200
    for name in range(4):
        mine = [each.value.decode() for each in found if each.key == str(name).encode()]
        assert mine == [f"{name}-{number}" for number in range(50)]


WRITER = """
import runpy, sys
from pathlib import Path
from sluice.events import NewRecord
conftest, adapter, place, name = sys.argv[1:]
log = runpy.run_path(conftest)["EVENT_LOGS"][adapter](Path(place))
for number in range(200):
    log.append("shop.interactions", [NewRecord(f"{name}{number % 5}".encode(), f"{name}-{number}".encode())])
"""


def test_two_processes_append_at_once_and_nothing_is_lost_or_doubled(event_log_port, log):
    conftest = Path(__file__).with_name("conftest.py")
    assert event_log_port.name in runpy.run_path(str(conftest))["EVENT_LOGS"]
    arguments = [sys.executable, "-c", WRITER, str(conftest), event_log_port.name, str(event_log_port.place)]
    writers = [subprocess.Popen([*arguments, name], stderr=subprocess.PIPE, text=True) for name in ("a", "b")]
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert writer.returncode == 0, errors
    found = all_of(log)
    assert sorted(each.value.decode() for each in found) == sorted(
        f"{name}-{number}" for name in "ab" for number in range(200)
    )
    for key in {each.key for each in found}:
        theirs = [int(each.value.decode()[2:]) for each in found if each.key == key]
        assert theirs == sorted(theirs)
    places = [(each.partition, each.offset) for each in found]
    assert len(set(places)) == len(places)
