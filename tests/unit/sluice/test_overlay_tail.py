"""The tail over the embedded log: from the beginning, on with what comes, through failures."""

import threading
import time

import prometheus_client
import pytest

from sluice import metrics, overlay_tail
from sluice.embedded.log import EmbeddedLog
from sluice.errors import OffsetOutOfRange, StorageUnavailable
from sluice.events import NewRecord
from sluice.overlay import Forgotten, Overlay
from sluice.overlay_tail import Tail
from sluice.records import Item, encode


@pytest.fixture
def log(tmp_path):
    log = EmbeddedLog(tmp_path / "log.db")
    log.create_topics({"shop.items": 2, "shop.users": 2})
    return log


def put(log, *items):
    log.append("shop.items", [NewRecord(item.item_id.encode(), encode(item)) for item in items])


def tail_of(log, overlay, *, forgotten=None, changed=lambda: None):
    users = Forgotten() if forgotten is None else forgotten
    return Tail(log, {"shop.items": overlay, "shop.users": users}, changed)


def test_it_reads_from_the_beginning_and_goes_on(log):
    put(log, *(Item(item_id=f"i{number}") for number in range(2_500)))
    log.append("shop.users", [NewRecord(b"ann", None)])
    overlay, forgotten = Overlay(), Forgotten()
    tail = tail_of(log, overlay, forgotten=forgotten)
    with pytest.raises(StorageUnavailable):
        tail.require_caught_up()
    tail.round()
    tail.require_caught_up()
    state = tail.state()
    assert (sum(state.position.values()), state.items, state.lag, state.caught_up) == (2_500, 2_500, 0, True)
    assert forgotten.is_hidden("ann")
    put(log, Item(item_id="i7", available=False))
    tail.round()
    assert not overlay.matches("i7", None)
    assert sum(overlay.position.values()) == sum(tail.state().position.values()) == 2_501


def test_an_empty_log_is_caught_up_at_once(log):
    tail = tail_of(log, Overlay())
    tail.round()
    assert tail.caught_up.is_set()
    assert tail.state().position == {"0": 0, "1": 0}


def test_it_has_not_caught_up_before_those_that_follow_it_have(log):
    put(log, Item(item_id="a"))
    seen = []
    tail = tail_of(log, Overlay(), changed=lambda: seen.append(tail.caught_up.is_set()))
    tail.round()
    assert seen == [False], "told of the record, and only then live"
    assert tail.caught_up.is_set()


def test_gaps_at_the_end_do_not_keep_it_from_catching_up(log, monkeypatch):
    put(log, Item(item_id="a"))
    monkeypatch.setattr(overlay_tail, "PATIENCE_S", 0.01)
    ends = {partition: end + 3 for partition, end in log.end_offsets("shop.items").items()}
    real = log.end_offsets
    monkeypatch.setattr(log, "end_offsets", lambda topic: ends if topic == "shop.items" else real(topic))
    tail = tail_of(log, Overlay())
    tail.round()
    assert tail.caught_up.is_set()
    put(log, Item(item_id="b"))
    tail.round()
    assert tail.state().items == 2, "nothing is skipped for it"


def test_a_change_acts_within_a_tenth_of_a_second_and_a_failing_log_is_read_again(log, tmp_path):
    class Stumbling:
        def __init__(self):
            self.down, self.fallen = False, threading.Event()

        def __getattr__(self, name):
            return getattr(log, name)

        def read(self, *arguments):
            if self.down:
                self.fallen.set()
                raise StorageUnavailable("log.db cannot be read; check the disk")
            return log.read(*arguments)

    stumbling, overlay = Stumbling(), Overlay()
    tail = tail_of(stumbling, overlay)
    tail.start()
    try:
        assert tail.caught_up.wait(10)
        writer = EmbeddedLog(tmp_path / "log.db")
        put(writer, Item(item_id="warm"))
        delays = []
        for number in range(20):
            put(writer, Item(item_id=f"i{number}", available=False))
            started = time.monotonic()
            while overlay.matches(f"i{number}", None):
                assert time.monotonic() < started + 5
                time.sleep(0.001)
            delays.append(time.monotonic() - started)
        assert sorted(delays)[10] < 0.1, delays
        stumbling.down = True
        assert stumbling.fallen.wait(10)
        put(writer, Item(item_id="late", available=False))
        stumbling.down = False
        deadline = time.monotonic() + 10
        while overlay.matches("late", None):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        tail.stop()


def test_what_a_full_overlay_refuses_is_counted(log):
    def refused():
        return (
            prometheus_client.REGISTRY.get_sample_value(metrics.OVERLAY_REFUSED, {"topic": "shop.items"}) or 0
        )

    before = refused()
    put(log, *(Item(item_id=f"i{number}") for number in range(5)))
    tail = tail_of(log, Overlay(capacity=2))
    tail.round()
    put(log, Item(item_id="new"))
    tail.round()
    assert refused() - before == 4
    assert prometheus_client.REGISTRY.get_sample_value(metrics.OVERLAY_ITEMS) == 2
    assert (tail.state().items, tail.state().refused) == (2, 4)


def test_a_topic_and_a_partition_that_appear_later_are_read_too(tmp_path, monkeypatch):
    monkeypatch.setattr(overlay_tail, "ENDS_S", 0.0)
    log = EmbeddedLog(tmp_path / "log.db")
    log.create_topics({"shop.items": 1, "shop.users": 1})
    shown = {"shop.items": {}, "shop.users": {}}
    real = log.end_offsets
    monkeypatch.setattr(log, "end_offsets", lambda topic: {} if topic in shown else real(topic))
    forgotten, overlay = Forgotten(), Overlay()
    tail = tail_of(log, overlay, forgotten=forgotten)
    put(log, Item(item_id="a"))
    log.append("shop.users", [NewRecord(b"ann", None)])
    for topic in list(shown):
        tail.round()
        del shown[topic]
    tail.round()
    assert (len(overlay), forgotten.is_hidden("ann")) == (1, True)
    assert tail.state().lag == 0


def test_it_begins_at_the_first_record_kept_and_goes_on_there_when_more_was_deleted_while_it_read(log):
    class Shrinking:
        """A log whose first records get deleted."""

        begin = 2

        def __getattr__(self, name):
            return getattr(log, name)

        def begin_offsets(self, topic):
            return dict.fromkeys(log.end_offsets(topic), self.begin if topic == "shop.items" else 0)

        def read(self, positions, limit, timeout_s):
            for each, at in positions.items():
                if each.topic == "shop.items" and at < self.begin:
                    raise OffsetOutOfRange(*each, at, self.begin, 100)
            return log.read(positions, limit, timeout_s)

    shrinking = Shrinking()
    for part in range(2):
        records = [encode(Item(item_id=f"i{part}-{number}")) for number in range(8)]
        log.append("shop.items", [NewRecord(b"k", each, partition=part) for each in records])
    tail = tail_of(shrinking, Overlay())
    tail.round()
    assert tail.state().position == {"0": 8, "1": 8}
    shrinking.begin = 9
    for part, count in ((0, 3), (1, 1)):
        records = [encode(Item(item_id=f"n{part}-{number}")) for number in range(count)]
        log.append("shop.items", [NewRecord(b"k", each, partition=part) for each in records])
    tail.round()
    assert tail.state().position == {"0": 11, "1": 9}
