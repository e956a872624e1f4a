"""The wanted file, the workers' board, the id map's look-up of many."""

import os

import numpy as np
import pytest
from structlog.testing import capture_logs

from sluice.errors import InvalidSetting
from sluice.snapshot import ids
from sluice_faiss.board import Board
from sluice_faiss.settings import FaissSettings
from sluice_faiss.wanted import WorkerState
from sluice_faiss.watch import Desired


def test_the_wanted_file_is_followed(tmp_path):
    path = tmp_path / "wanted"
    wanted = Desired(path)
    assert wanted().ids == ()
    path.write_text('["a"]')
    assert wanted().ids == ("a",)
    path.write_text('["a", "b"]')
    assert wanted().ids == ("a", "b")
    path.write_text('["a", "b"')
    assert wanted().ids == ("a", "b"), "half a file leaves the last list in force"
    path.unlink()
    assert wanted().ids == ()


def test_a_broken_wanted_file_is_told_once_per_change(tmp_path):
    path = tmp_path / "wanted"
    wanted = Desired(path)
    with capture_logs() as lines:
        path.write_text('["a"')
        for _ in range(3):
            wanted()
        path.write_text('["a", "b"')
        for _ in range(3):
            wanted()
        path.write_text('["a"]')
        assert wanted().ids == ("a",)
        path.write_text('["a"')
        wanted()
    assert [line["path"] for line in lines] == [str(path)] * 3


def test_the_board_shows_living_workers_only(tmp_path):
    board = Board(tmp_path)
    board.write(WorkerState(wanted=("a",)))
    (tmp_path / "999999999.json").write_text('{"wanted":["b"]}')
    assert board.read() == [WorkerState(wanted=("a",))]
    assert (tmp_path / f"{os.getpid()}.json").exists()
    board.wipe()
    assert board.read() == []


@pytest.mark.parametrize("field", ["model_key", "wanted_path"])
def test_a_missing_setting_is_named(field):
    with pytest.raises(InvalidSetting, match="SLUICE_"):
        getattr(FaissSettings(), field)


def test_many_ids_are_looked_up_at_once():
    names = [f"item {number}" for number in range(1_000)] + ["", "ü"]
    found = ids.IdMap(ids.build(names)).rows_of(["ü", "nobody", "item 0", "", "item 999"])
    assert found.tolist() == [1001, -1, 0, 1000, 999]
    assert found.dtype == np.int32


def test_ids_of_equal_hash_do_not_answer_for_each_other(monkeypatch):
    monkeypatch.setattr(ids, "hash64", lambda _: 7)
    found = ids.IdMap(ids.build(["a", "b", "c"])).rows_of(["c", "a", "x", "b"])
    assert found.tolist() == [2, 0, -1, 1]


def test_an_empty_map_knows_nobody():
    assert ids.IdMap(ids.build([])).rows_of(["a"]).tolist() == [-1]
