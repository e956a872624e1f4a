"""A position outside the log: what is deleted is told and passed over, what is beyond the end stops everything."""

import pytest
from prometheus_client import REGISTRY

from sluice import metrics
from sluice.embedded.log import EmbeddedLog
from sluice.errors import OffsetOutOfRange, StorageUnavailable
from sluice.events import NewRecord, Partition, StoredRecord
from sluice.positions import read_to, resumed

ONE, OTHER = Partition("lost.items", 1), Partition("lost.items", 2)


def lost() -> float:
    return REGISTRY.get_sample_value(metrics.LOST, {"topic": "lost.items", "partition": "1"}) or 0.0


def test_before_the_first_record_kept_reading_goes_on_there_and_the_loss_is_counted():
    before = lost()
    error = OffsetOutOfRange("lost.items", 1, 5, 12, 40)
    assert resumed({ONE: 5, OTHER: 7}, error) == {ONE: 12, OTHER: 7}
    assert lost() - before == 7


def test_beyond_the_end_nothing_is_guessed():
    before = lost()
    with pytest.raises(StorageUnavailable, match="created anew"):
        resumed({ONE: 50}, OffsetOutOfRange("lost.items", 1, 50, 0, 40))
    assert lost() == before


def test_all_before_the_ends_is_given_and_nothing_else(tmp_path):
    log = EmbeddedLog(tmp_path / "log.db")
    log.create_topics({"t": 3})
    for part in range(3):
        log.append("t", [NewRecord(b"k", b"%d" % number, partition=part) for number in range(20 + 90 * part)])
    starts = {Partition("t", 0): 3, Partition("t", 1): 0, Partition("t", 2): 100}
    ends = {Partition("t", 0): 20, Partition("t", 1): 40, Partition("t", 2): 100}
    found = [each for lot in read_to(log, starts, ends, 7) for each in lot]
    assert sorted((each.partition.number, each.offset) for each in found) == [
        *((0, offset) for offset in range(3, 20)),
        *((1, offset) for offset in range(40)),
    ]


class Gaps:
    """A log whose last offsets hold no records, beside a partition that never ends."""

    def read(self, positions, limit, timeout_s):
        found = []
        for each, at in positions.items():
            end = 3 if each == ONE else 1_000_000
            found += [StoredRecord(each, offset, 0, b"k", b"v") for offset in range(at, min(end, at + 2))]
        return found


def test_what_is_missing_before_an_end_keeps_nobody_waiting():
    lots = read_to(Gaps(), {ONE: 0, OTHER: 0}, {ONE: 9, OTHER: 4}, 10)
    found = [(each.partition, each.offset) for lot in lots for each in lot]
    assert found.count((ONE, 2)) == 1
    assert [offset for each, offset in found if each == OTHER] == [0, 1, 2, 3]
