"""What the embedded log does beyond its port's contract."""

import pytest

from sluice.embedded.log import EmbeddedLog
from sluice.events import NewRecord

TOPIC = "shop.interactions"


@pytest.fixture
def log(tmp_path):
    log = EmbeddedLog(tmp_path / "log.db")
    log.create_topics({TOPIC: 4})
    return log


@pytest.mark.parametrize("limit", [4, 50, 90, 200])
def test_what_idle_partitions_leave_goes_to_a_busy_one(log, limit):
    log.append(TOPIC, [NewRecord(b"busy", b"%d" % number) for number in range(100)])
    found = log.read(dict.fromkeys(log.partitions(TOPIC), 0), limit, 0.0)
    assert [int(each.value) for each in found] == list(range(min(limit, 100)))


def test_two_busy_partitions_share(log):
    keys = [b"k%d" % number for number in range(200)]
    log.append(TOPIC, [NewRecord(key, b"v") for key in keys * 2])
    found = log.read(dict.fromkeys(log.partitions(TOPIC), 0), 100, 0.0)
    counts = [sum(each.partition.number == part for each in found) for part in range(4)]
    assert sum(counts) == 100
    assert min(counts) >= 25
    for part in range(4):
        offsets = [each.offset for each in found if each.partition.number == part]
        assert offsets == list(range(len(offsets)))
