"""A letter keeps its record and names where it lay; what somebody else wrote names nothing."""

import pytest

from sluice.dead_letters import LARGEST, LARGEST_KEY, letter, letters, named_by, origin_of
from sluice.embedded.log import EmbeddedLog
from sluice.events import NewRecord, Partition, StoredRecord

RECORD = StoredRecord(Partition("shop.items", 1), 7, 0, b"k\xff", b"\x00", ())


def test_a_letter_names_the_record_it_keeps(tmp_path):
    log = EmbeddedLog(tmp_path / "log.db")
    log.create_topics({"dlt": 1})
    log.append("dlt", [letter(RECORD, "bad-json", "cut at \ud800", ("model", b"m"))])
    positions = dict.fromkeys(log.partitions("dlt"), 0)
    [found] = letters(log, positions)
    assert (found.key, found.value) == (RECORD.key, RECORD.value)
    assert named_by(found) == origin_of(RECORD)
    assert dict(found.headers)["reason"] == b"bad-json"
    assert ("model", b"m") in found.headers
    assert list(letters(log, log.end_offsets("dlt"))) == []


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("partition", b"0"),),
        (("topic", b"t"), ("partition", b"x"), ("offset", b"1")),
        (("topic", b"t"), ("partition", b"0"), ("offset", b"9" * 5_000)),
        (("topic", b"t"), ("partition", b"9" * 10), ("offset", b"1")),
        (("topic", b"t"), ("partition", b"0"), ("offset", "²".encode())),
    ],
)
def test_a_letter_in_another_form_names_nothing(headers):
    foreign = NewRecord(b"k", None, headers)
    assert named_by(StoredRecord(RECORD.partition, 0, 0, *foreign[:3])) is None


def test_a_very_large_record_is_cut_so_that_its_letter_fits_the_log():
    made = letter(RECORD._replace(key=b"k" * 600_000, value=b"v" * 600_000), "too-large", "too large")
    assert (len(made.key), len(made.value or b"")) == (LARGEST_KEY, LARGEST)
    assert dict(made.headers)["cut"] == b"1200000"
    assert made.partition == RECORD.partition.number
