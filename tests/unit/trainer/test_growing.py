"""Tables that grow in place, and by copying where address space is scarce."""

import mmap
import os

import numpy as np
import pytest

from sluice_trainer import growing
from sluice_trainer.growing import Grown


def scarce(*_args, **_more):
    raise OSError(12, "Cannot allocate memory")


@pytest.mark.parametrize("limited", [False, True])
def test_rows_keep_their_values_and_new_ones_are_zero(monkeypatch, limited):
    if limited:
        monkeypatch.setattr(growing.mmap, "mmap", scarce)
    table, expected = Grown(3, np.float32), np.zeros((0, 3), np.float32)
    for size in (0, 1, 7, 7, 3, 5_000):
        known = table.size
        table.grow(size)
        assert table.size == max(size, known)
        assert table.rows.dtype == np.float32
        np.testing.assert_array_equal(table.rows[:known], expected)
        assert not table.rows[known:].any()
        table.rows[known:] = size
        expected = table.rows.copy()
    other = Grown(3, np.float32)
    other.restore(expected)
    np.testing.assert_array_equal(other.rows, expected)
    other.rows[0] = -1.0
    np.testing.assert_array_equal(table.rows, expected)


def test_a_kernel_without_huge_pages_will_do(monkeypatch):
    class Memory(mmap.mmap):
        def madvise(self, *_):
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(growing.mmap, "mmap", Memory)
    table = Grown(1, np.int32)
    table.grow(3)
    assert table.rows.tolist() == [[0], [0], [0]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_a_table_of_its_own():
    table = Grown(1, np.int32)
    table.grow(1)
    child = os.fork()
    if child == 0:
        table.rows[0] = 5
        os._exit(0)
    os.waitpid(child, 0)
    assert table.rows[0] == 0
