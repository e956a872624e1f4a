"""The journal: plans written down first, torn ends cut off, damage noticed."""

import itertools
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


EPOCHS = itertools.count(1)


def opened(folder, base=0, oldest=0) -> Journal:
    """Open the journals as the next trainer does."""
    folder.mkdir(exist_ok=True)
    return Journal(folder, base, oldest, next(EPOCHS))


def filled(folder, sequences, base=0) -> Journal:
    journal = opened(folder, base)
    for sequence in sequences:
        journal.append(plan(sequence))
    journal.close()
    return journal


def read(folder, base=0, oldest=0) -> list[int]:
    journal = opened(folder, base, oldest)
    journal.close()
    return [each.sequence for each in journal.plans]


def test_plans_are_read_back_whole_and_in_order(tmp_path):
    journal = opened(tmp_path, 0, 0)
    plans = [plan(1, fit=True, routing=None), plan(2), plan(3, ranges={})]
    for each in plans:
        journal.append(each)
    journal.close()
    again = opened(tmp_path, 0, 0)
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


def test_a_torn_last_line_is_passed_over_wherever_it_was_torn(tmp_path):
    path = filled(tmp_path / "once", [1, 2, 3]).path
    data = path.read_bytes()
    whole = data[: data[:-1].rfind(b"\n") + 1]
    for length in range(len(whole), len(data)):
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / path.name).write_bytes(data[:length])
        assert read(folder) == read(folder) == [1, 2]


def test_what_an_older_trainer_appends_once_another_took_over_is_never_read(tmp_path):
    older = opened(tmp_path)
    older.append(plan(1))
    older.append(plan(2))
    newer = opened(tmp_path)
    older.append(plan(3, now=-1.0))
    newer.append(plan(3))
    with (tmp_path / older.path.name).open("ab") as stream:
        stream.write(b"torn by a node that died")
    older.close()
    newer.append(plan(4))
    newer.close()
    again = opened(tmp_path)
    again.close()
    assert [(each.sequence, each.now) for each in again.plans] == [(1, 1.25), (2, 2.25), (3, 3.25), (4, 4.25)]


def test_an_older_trainer_changes_nothing_also_if_nothing_was_planned_before_the_newer_one(tmp_path):
    older, newer = opened(tmp_path), opened(tmp_path)
    older.append(plan(1, now=-1.0))
    newer.append(plan(1))
    older.close()
    newer.close()
    again = opened(tmp_path)
    again.close()
    assert [(each.sequence, each.now) for each in again.plans] == [(1, 1.25)]


def test_after_a_torn_line_the_journal_goes_on(tmp_path):
    path = filled(tmp_path, [1, 2, 3]).path
    path.write_bytes(path.read_bytes()[:-5])
    journal = opened(tmp_path, 0, 0)
    journal.append(plan(3, now=99.0))
    journal.close()
    again = opened(tmp_path, 0, 0)
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
        with pytest.raises(StorageUnavailable, match=r"journal-[0-]+\d+\.log line 2 is damaged"):
            opened(tmp_path, 0, 0)
        assert path.read_bytes() == flipped, "evidence of the damage is left as it is"


def test_journals_from_before_the_oldest_checkpoint_are_deleted(tmp_path):
    filled(tmp_path, [1, 2], base=0)
    filled(tmp_path, [3, 4], base=2)
    filled(tmp_path, [5], base=4)
    assert read(tmp_path, base=4, oldest=2) == [5]
    assert sorted({path.name[8:20] for path in tmp_path.iterdir()}) == [f"{n:012d}" for n in (2, 4, 5)]


def test_if_an_older_checkpoint_has_to_be_taken_the_plans_of_younger_journals_follow(tmp_path):
    filled(tmp_path, [3, 4], base=2)
    filled(tmp_path, [5], base=4)
    journal = opened(tmp_path, 2, 2)
    assert [each.sequence for each in journal.plans] == [3, 4, 5]
    journal.append(plan(6))
    journal.close()
    assert read(tmp_path, base=2, oldest=2) == [3, 4, 5, 6]
    assert read(tmp_path, base=4, oldest=2) == [5, 6]


def test_a_plan_that_was_written_too_late_for_the_next_file_never_was(tmp_path):
    """Writing plan 3 failed after it reached the disk; a checkpoint of plan 2 followed, and another plan 3."""
    journal = opened(tmp_path)
    for sequence in (1, 2, 3):
        journal.append(plan(sequence))
    journal.rotate(2)
    journal.append(plan(3, now=99.0))
    journal.append(plan(4))
    journal.close()
    again = opened(tmp_path)
    again.close()
    assert [(each.sequence, each.now) for each in again.plans] == [(1, 1.25), (2, 2.25), (3, 99.0), (4, 4.25)]


def test_a_journal_goes_on_in_a_new_file_and_forgets_the_old_one_when_told(tmp_path):
    journal = opened(tmp_path, 0, 0)
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
    again = opened(tmp_path, 2, 2)
    again.close()
    assert [each.sequence for each in again.plans] == [3]
    assert sorted(path.name[8:20] for path in tmp_path.iterdir()) == [f"{n:012d}" for n in (2, 3)]


def test_plans_of_another_version_stop_the_trainer_with_the_fix(tmp_path):
    document = b'{"sequence":1}'
    (tmp_path / "journal-000000000000.log").write_bytes(b"%08x %s\n" % (crc32(document), document))
    with pytest.raises(StorageUnavailable, match="another version"):
        opened(tmp_path, 0, 0)


@pytest.mark.parametrize("failing", ["fsync", "write"])
def test_a_plan_that_could_not_be_written_is_not_in_the_journal(tmp_path, monkeypatch, failing):
    """The disk was full: the plan was never carried out, and another of its number follows later."""
    journal = opened(tmp_path, 0, 0)
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
    again = opened(tmp_path, 0, 0)
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
