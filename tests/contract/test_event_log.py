"""The event log port: partitioned, ordered, durable."""

import json
import runpy
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sluice.errors import OffsetOutOfRange, SluiceError
from sluice.events import NewRecord, Partition

WAIT_S = 10.0


@pytest.fixture
def topic(event_log_port):
    return event_log_port.own("shop.interactions")


@pytest.fixture
def log(event_log, topic):
    event_log.create_topics({topic: 3})
    yield event_log
    event_log.close()


def record(key: str, value: str = "v") -> NewRecord:
    return NewRecord(key.encode(), value.encode())


def all_of(log, topic: str) -> list:
    """Every record of a topic, read to its end."""
    positions, ends, found = dict.fromkeys(log.partitions(topic), 0), log.end_offsets(topic), []
    deadline = time.monotonic() + WAIT_S
    while positions != ends:
        assert time.monotonic() < deadline, f"stuck at {positions} of {ends}"
        for each in log.read(positions, 1000, 0.1):
            found.append(each)
            positions[each.partition] = each.offset + 1
    return found


def test_a_topic_has_the_partitions_it_was_created_with(event_log_port, event_log):
    a, b = event_log_port.own("a"), event_log_port.own("b")
    event_log.create_topics({a: 1, b: 4}, compacted=[b])
    assert event_log.partitions(a) == [Partition(a, 0)]
    assert sorted(event_log.partitions(b)) == [Partition(b, number) for number in range(4)]


def test_an_unknown_topic_has_no_partitions_and_takes_nothing(event_log):
    assert event_log.partitions("nowhere") == []
    with pytest.raises(SluiceError):
        event_log.append("nowhere", [record("k")])


def test_creating_topics_again_changes_neither_their_partitions_nor_their_records(log, topic):
    log.append(topic, [record("k", "kept")])
    log.create_topics({topic: 7, f"later-{topic}": 2})
    assert len(log.partitions(topic)) == 3
    assert len(log.partitions(f"later-{topic}")) == 2
    assert [each.value for each in all_of(log, topic)] == [b"kept"]


def test_two_openers_may_create_the_same_topics_at_once(event_log_port, at_once, topic):
    logs = [event_log_port.open() for _ in range(4)]
    for number in range(12):
        a, b = f"a{number}-{topic}", f"b{number}-{topic}"
        results = at_once(*[lambda log=log, a=a, b=b: log.create_topics({a: 3, b: 2}) for log in logs])
        assert results == [None] * 4
        assert all(len(log.partitions(a)) == 3 for log in logs)


def test_equal_keys_go_to_one_partition_in_the_order_of_appending(log, topic):
    sent = [(f"user-{number % 7}", str(number)) for number in range(200)]
    for start in range(0, 200, 40):
        log.append(topic, [record(*each) for each in sent[start : start + 40]])
    found = all_of(log, topic)
    for user in {key for key, _ in sent}:
        theirs = [each for each in found if each.key == user.encode()]
        assert len({each.partition for each in theirs}) == 1
        in_offset_order = sorted(theirs, key=lambda each: each.offset)
        assert [each.value.decode() for each in in_offset_order] == [v for k, v in sent if k == user]
    assert len({each.partition for each in found}) > 1


def test_the_partition_of_a_key_does_not_depend_on_who_opened_the_log(event_log_port, log, topic):
    other = event_log_port.open()
    log.append(topic, [record("me")])
    other.append(topic, [record("me")])
    first, second = all_of(log, topic)
    assert first.partition == second.partition
    assert first.offset < second.offset


def test_a_record_comes_back_as_it_was_given(log, topic):
    given = NewRecord(b"\x00key\xff", b"\x00\xff", (("reason", b"bad-json"), ("reason", b""), ("é", b"\x80")))
    before = time.time_ns() // 1_000_000
    log.append(topic, [given, NewRecord(b"", b""), NewRecord(b"gone", None)])
    found = {each.key: each for each in all_of(log, topic)}
    assert found[b"\x00key\xff"].value == b"\x00\xff"
    assert found[b"\x00key\xff"].headers == given.headers
    assert found[b""].value == b""
    assert found[b""].headers == ()
    assert found[b"gone"].value is None
    assert all(before <= each.timestamp <= time.time_ns() // 1_000_000 for each in found.values())


def test_a_batch_is_appended_whole_or_not_at_all(log, topic):
    log.append(topic, [record("a", "before")])
    with pytest.raises((TypeError, SluiceError)):
        log.append(topic, [record("a"), record("b"), NewRecord(None, b"no key")])  # type: ignore[arg-type]
    assert [each.value for each in all_of(log, topic)] == [b"before"]
    log.append(topic, [record("a", "after")])
    assert [each.value for each in all_of(log, topic)] == [b"before", b"after"]


def test_appending_nothing_changes_nothing(log, topic):
    before = log.end_offsets(topic)
    log.append(topic, [])
    assert log.end_offsets(topic) == before


def test_end_offsets_tell_what_the_next_record_gets(log, topic):
    assert set(log.end_offsets(topic)) == set(log.partitions(topic))
    log.append(topic, [record(str(number)) for number in range(20)])
    ends = log.end_offsets(topic)
    last = {}
    for each in all_of(log, topic):
        last[each.partition] = max(each.offset, last.get(each.partition, -1))
    assert all(last.get(partition, -1) < end for partition, end in ends.items())
    log.append(topic, [record("x")])
    (new,) = log.read(ends, 10, 1.0)
    assert new.offset >= ends[new.partition]


def test_reading_begins_at_the_given_positions_and_touches_no_other_partition(log, topic):
    log.append(topic, [record(str(number)) for number in range(60)])
    everything = all_of(log, topic)
    for partition in log.partitions(topic):
        offsets = sorted(each.offset for each in everything if each.partition == partition)
        start = offsets[len(offsets) // 2]
        found = log.read({partition: start}, 1000, 0.5)
        assert [each.offset for each in found] == [offset for offset in offsets if offset >= start]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 1000])
def test_reading_returns_no_more_than_asked_and_leaves_no_partition_behind(log, limit, topic):
    log.append(topic, [record(str(number)) for number in range(60)])
    positions, found = dict.fromkeys(log.partitions(topic), 0), []
    while len(found) < 60:
        got = log.read(positions, limit, 0.5)
        assert 1 <= len(got) <= limit
        for partition in {each.partition for each in got}:
            offsets = [each.offset for each in got if each.partition == partition]
            assert offsets == sorted(offsets)
            assert offsets[0] == positions[partition]
            positions[partition] = offsets[-1] + 1
        found.extend(got)
    assert positions == log.end_offsets(topic)


@pytest.mark.parametrize("limit", [1, 2, 6])
def test_a_partition_that_never_empties_does_not_starve_another(log, limit, topic):
    log.append(topic, [record("busy", str(number)) for number in range(300)])
    busy = all_of(log, topic)[0].partition
    quiet = next(
        str(number)
        for number in range(100)
        if (log.append(topic, [record(str(number))]) or True)
        and any(each.key == str(number).encode() and each.partition != busy for each in all_of(log, topic))
    )
    positions = dict.fromkeys(log.partitions(topic), 0)
    seen = set()
    for _ in range(10):
        for each in log.read(positions, limit, 0.5):
            positions[each.partition] = each.offset + 1
            seen.add(each.key)
    assert quiet.encode() in seen
    assert b"busy" in seen


def test_reading_an_empty_log_waits_as_long_as_asked_and_returns_nothing(log, topic):
    started = time.monotonic()
    assert log.read(log.end_offsets(topic), 10, 0.15) == []
    took = time.monotonic() - started
    assert 0.15 <= took < 2.0
    started = time.monotonic()
    assert log.read(log.end_offsets(topic), 10, 0.0) == []
    assert time.monotonic() - started < 1.0


def test_a_waiting_reader_gets_what_another_appends(event_log_port, log, topic):
    writer, ends, got = event_log_port.open(), log.end_offsets(topic), []
    reading = threading.Event()

    def read() -> None:
        reading.set()
        got.extend(log.read(ends, 10, WAIT_S))

    thread = threading.Thread(target=read)
    thread.start()
    assert reading.wait(WAIT_S)
    started = time.monotonic()
    writer.append(topic, [record("k", "news")])
    thread.join(WAIT_S)
    assert [each.value for each in got] == [b"news"]
    assert time.monotonic() - started < WAIT_S / 2


def test_a_wait_ends_in_time_although_another_topic_is_busy(event_log_port, log, topic):
    other = f"other-{topic}"
    log.create_topics({other: 1})
    writer, stop = event_log_port.open(), threading.Event()

    def write() -> None:
        while not stop.is_set():
            writer.append(other, [record("k")])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        started = time.monotonic()
        assert log.read(log.end_offsets(topic), 10, 0.2) == []
        assert 0.2 <= time.monotonic() - started < 2.0
    finally:
        stop.set()
        thread.join(WAIT_S)


def test_what_was_appended_is_there_for_the_next_opener(event_log_port, log, topic):
    log.append(topic, [record(str(number), str(number)) for number in range(10)])
    again = event_log_port.open()
    assert sorted(all_of(again, topic)) == sorted(all_of(log, topic))
    assert again.end_offsets(topic) == log.end_offsets(topic)


def test_a_group_finds_again_what_it_committed_last_and_no_other_groups(event_log_port, log, topic):
    zero, one, _ = sorted(log.partitions(topic))
    trainer, profiles = event_log_port.own("trainer"), event_log_port.own("profiles")
    assert log.committed(trainer) == {}
    log.commit(trainer, {zero: 5, one: 7})
    log.commit(profiles, {zero: 1})
    log.commit(trainer, {zero: 6})
    assert event_log_port.open().committed(trainer) == {zero: 6, one: 7}
    assert log.committed(profiles) == {zero: 1}
    assert log.committed(event_log_port.own("nobody")) == {}


def test_a_named_partition_is_taken_and_wraps_around(log, topic):
    parts = sorted(log.partitions(topic))
    log.append(topic, [NewRecord(b"k", b"%d" % number, partition=number) for number in range(6)])
    found = {each.value: each.partition for each in all_of(log, topic)}
    assert found == {b"%d" % number: parts[number % 3] for number in range(6)}


def test_an_empty_answer_without_waiting_means_that_nothing_is_there(log, topic):
    log.append(topic, [record(str(number)) for number in range(2_500)])
    for partition, end in log.end_offsets(topic).items():
        position = 0
        while found := log.read({partition: position}, 100, 0.0):
            position = found[-1].offset + 1
        assert position == end


def test_a_position_beyond_the_end_is_out_of_range_and_the_end_itself_is_not(log, topic):
    zero, one, two = sorted(log.partitions(topic))
    log.append(topic, [NewRecord(b"k", b"v", partition=0)] * 5)
    with pytest.raises(OffsetOutOfRange) as told:
        log.read({zero: 6}, 10, 0.0)
    error = told.value
    assert (error.topic, error.partition, error.position) == (topic, 0, 6)
    assert (error.begin, error.end) == (0, 5)
    with pytest.raises(OffsetOutOfRange):
        read_twice(log, {zero: 0, one: 1, two: 0})
    assert log.read({zero: 5, one: 0}, 10, 0.0) == []
    assert len(log.read({zero: 0, one: 0}, 10, 0.0)) == 5


def read_twice(log, positions) -> None:
    """What others have may be given first."""
    for _ in range(2):
        log.read(positions, 10, 0.0)


def test_offsets_can_be_found_by_the_time_at_which_records_came(log, topic):
    log.append(topic, [record(str(number)) for number in range(30)])
    first = all_of(log, topic)
    later = max(each.timestamp for each in first) + 1
    wait_for(lambda: time.time_ns() // 1_000_000 > later)
    middle = log.end_offsets(topic)
    log.append(topic, [record(str(number)) for number in range(30)])
    assert log.offsets_at(topic, 0) == log.begin_offsets(topic)
    assert log.offsets_at(topic, later) == middle
    assert log.offsets_at(topic, later + 3_600_000) == log.end_offsets(topic)


def wait_for(condition) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_threads_may_append_through_one_log_at_once(log, at_once, topic):
    def writer(name: int) -> None:
        for number in range(50):
            log.append(topic, [record(f"{name}", f"{name}-{number}")])

    assert at_once(*[lambda name=name: writer(name) for name in range(4)]) == [None] * 4
    found = all_of(log, topic)
    assert len(found) == 200
    for name in range(4):
        mine = [each.value.decode() for each in found if each.key == str(name).encode()]
        assert mine == [f"{name}-{number}" for number in range(50)]


WRITER = """
import json, runpy, sys
from pathlib import Path
from sluice.events import NewRecord
conftest, adapter, place, addresses, topic, name = sys.argv[1:]
adapters = runpy.run_path(conftest)
adapters["ADDRESSES"].update(json.loads(addresses))
log = adapters["EVENT_LOGS"][adapter](Path(place))
for number in range(200):
    log.append(topic, [NewRecord(f"{name}{number % 5}".encode(), f"{name}-{number}".encode())])
"""


def test_two_processes_append_at_once_and_nothing_is_lost_or_doubled(event_log_port, log, topic):
    conftest = Path(__file__).with_name("conftest.py")
    addresses = json.dumps(event_log_port.addresses)
    assert event_log_port.name in runpy.run_path(str(conftest))["EVENT_LOGS"]
    arguments = [str(conftest), event_log_port.name, str(event_log_port.place), addresses, topic]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, *arguments, name], stderr=subprocess.PIPE, text=True)
        for name in ("a", "b")
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert writer.returncode == 0, errors
    found = all_of(log, topic)
    assert sorted(each.value.decode() for each in found) == sorted(
        f"{name}-{number}" for name in "ab" for number in range(200)
    )
    for key in {each.key for each in found}:
        theirs = [int(each.value.decode()[2:]) for each in found if each.key == key]
        assert theirs == sorted(theirs)
    places = [(each.partition, each.offset) for each in found]
    assert len(set(places)) == len(places)
