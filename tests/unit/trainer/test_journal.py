"""The journal: plans written down first, torn ends cut off, damage noticed."""

import os
from zlib import crc32

import pytest

from sluice.errors import StorageUnavailable
from sluice.routing import Routing
from sluice_trainer.journal import Journal, Plan, Rules

RULES = Rules(cut_seconds=600.0, cut_events=100, metrics=("mrr",), of=10)


def plan(sequence: int, **fields) -> Plan:
    routing = Routing(epoch=1, rollout="r", stable="s1", candidate=None, weight=0, renewed=1.5)
    made = {"ranges": {0: (sequence, sequence + 1), 1: (0, 2)}, "now": sequence + 0.25, "routing": routing}
    return Plan(sequence=sequence, rules=RULES, **(made | fields))


def filled(folder, sequences, base=0) -> Journal:
    journal = Journal(folder, base, 0)
    for sequence in sequences:
        journal.append(plan(sequence))
    journal.close()
    return journal


def read(folder, base=0, oldest=0) -> list[int]:
    journal = Journal(folder, base, oldest)
    journal.close()
    return [each.sequence for each in journal.plans]


def test_plans_are_read_back_whole_and_in_order(tmp_path):
    journal = Journal(tmp_path, 0, 0)
    plans = [plan(1, fit=True, routing=None), plan(2), plan(3, ranges={})]
    for each in plans:
        journal.append(each)
    journal.close()
    again = Journal(tmp_path, 0, 0)
    again.close()
    assert again.plans == plans


def test_a_plans_key_is_that_of_its_ranges_alone():
    assert (
        plan(1, ranges={1: (0, 2), 0: (5, 9)}).key
        == plan(7, ranges={0: (5, 9), 1: (0, 2)}).key
        == "0:5-9,1:0-2"
    )


def test_plans_before_the_checkpoint_are_passed_over(tmp_path):
    filled(tmp_path, [1, 2, 3, 4])
    assert read(tmp_path, base=2) == [3, 4]


def test_a_torn_last_line_is_cut_off_wherever_it_was_torn(tmp_path):
    path = filled(tmp_path, [1, 2, 3]).path
    data = path.read_bytes()
    whole = data[: data[:-1].rfind(b"\n") + 1]
    for length in range(len(whole), len(data)):
        path.write_bytes(data[:length])
        assert read(tmp_path) == [1, 2]
        assert path.read_bytes() == whole


def test_after_a_torn_line_the_journal_goes_on(tmp_path):
    path = filled(tmp_path, [1, 2, 3]).path
    path.write_bytes(path.read_bytes()[:-5])
    journal = Journal(tmp_path, 0, 0)
    journal.append(plan(3, now=99.0))
    journal.close()
    again = Journal(tmp_path, 0, 0)
    again.close()
    assert [(each.sequence, each.now) for each in again.plans] == [(1, 1.25), (2, 2.25), (3, 99.0)]


def test_a_damaged_line_stops_the_trainer_and_is_named(tmp_path):
    path = filled(tmp_path, [1, 2, 3]).path
    data = path.read_bytes()
    second = data.find(b"\n") + 1
    for place in range(second, data.find(b"\n", second)):
        flipped = bytearray(data)
        flipped[place] ^= 0x04
        path.write_bytes(flipped)
        with pytest.raises(StorageUnavailable, match=r"journal-0+\.log line 2 is damaged"):
            Journal(tmp_path, 0, 0)
        assert path.read_bytes() == flipped, "evidence of the damage is left as it is"


def test_journals_from_before_the_oldest_checkpoint_are_deleted(tmp_path):
    filled(tmp_path, [1, 2], base=0)
    filled(tmp_path, [3, 4], base=2)
    filled(tmp_path, [5], base=4)
    assert read(tmp_path, base=4, oldest=2) == [5]
    assert sorted(path.name[8:20] for path in tmp_path.iterdir()) == [f"{n:012d}" for n in (2, 4)]


def test_if_an_older_checkpoint_has_to_be_taken_the_plans_of_younger_journals_follow(tmp_path):
    filled(tmp_path, [3, 4], base=2)
    filled(tmp_path, [5], base=4)
    journal = Journal(tmp_path, 2, 2)
    assert [each.sequence for each in journal.plans] == [3, 4, 5]
    journal.append(plan(6))
    journal.close()
    assert read(tmp_path, base=2, oldest=2) == [3, 4, 5, 6]
    assert read(tmp_path, base=4, oldest=2) == [5, 6]


def test_a_plan_that_was_written_too_late_for_the_next_file_never_was(tmp_path):
    """Writing plan 3 failed after it reached the disk; a checkpoint of plan 2 followed, and another plan 3."""
    filled(tmp_path, [1, 2, 3], base=0)
    filled(tmp_path, [3, 4], base=2)
    assert read(tmp_path) == [1, 2, 3, 4]


def test_a_journal_goes_on_in_a_new_file_and_forgets_the_old_one_when_told(tmp_path):
    journal = Journal(tmp_path, 0, 0)
    journal.append(plan(1))
    journal.rotate(1)
    candidate = Routing(epoch=1, rollout="r", stable="s1", candidate="s2", weight=0, renewed=1.5)
    journal.append(plan(2, routing=candidate))
    journal.rotate(2)
    journal.rotate(2)
    journal.append(plan(3, routing=None))
    assert journal.named() == {"s1", "s2"}
    journal.drop_before(2)
    assert journal.named() == set()
    journal.close()
    again = Journal(tmp_path, 2, 2)
    again.close()
    assert [each.sequence for each in again.plans] == [3]
    assert len(list(tmp_path.iterdir())) == 1


def test_plans_of_another_version_stop_the_trainer_with_the_fix(tmp_path):
    document = b'{"sequence":1}'
    (tmp_path / "journal-000000000000.log").write_bytes(b"%08x %s\n" % (crc32(document), document))
    with pytest.raises(StorageUnavailable, match="another version"):
        Journal(tmp_path, 0, 0)


@pytest.mark.parametrize("failing", ["fsync", "write"])
def test_a_plan_that_could_not_be_written_is_not_in_the_journal(tmp_path, monkeypatch, failing):
    """The disk was full: the plan was never carried out, and another of its number follows later."""
    journal = Journal(tmp_path, 0, 0)
    journal.append(plan(1))
    with monkeypatch.context() as patch:
        if failing == "fsync":
            patch.setattr(os, "fsync", fail)
        else:
            patch.setattr(journal, "_stream", Halving(journal._stream))
        for _ in range(2):
            with pytest.raises(StorageUnavailable, match="cannot be written"):
                journal.append(plan(2, now=-1.0))
    journal.append(plan(2))
    journal.append(plan(3))
    journal.close()
    again = Journal(tmp_path, 0, 0)
    again.close()
    assert [(each.sequence, each.now) for each in again.plans] == [(1, 1.25), (2, 2.25), (3, 3.25)]


def fail(_descriptor: int) -> None:
    raise OSError(28, "No space left on device")


class Halving:
    """A stream onto a disk with room for half of what is written."""

    def __init__(self, stream) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        return self._stream.write(data[: len(data) // 2])

    def __getattr__(self, name: str):
        return getattr(self._stream, name)
