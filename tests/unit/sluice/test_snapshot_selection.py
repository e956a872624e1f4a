"""The best of many scores: exactly, ties by row, nothing hidden, never fewer than there are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sluice.snapshot.selection import best, remaining, top

NOTHING = np.empty(0, np.int32)


def scores(*values):
    return np.array(values, np.float32)


def naive(given, k, hidden=()):
    order = sorted(range(len(given)), key=lambda row: (-given[row], row))
    return [row for row in order if np.isfinite(given[row]) and row not in hidden][:k]


def test_the_best_rows_come_first_ties_by_row():
    assert top(scores(1, 3), 5, NOTHING).rows.tolist() == [1, 0]
    assert top(scores(1, 3, 3, 2), 3, NOTHING).rows.tolist() == [1, 2, 3]
    assert top(scores(1, 3, 3, 2), 3, np.array([1], np.int32)).rows.tolist() == [2, 3, 0]
    assert top(scores(), 3, NOTHING).rows.tolist() == []
    assert top(scores(1, 3), 0, NOTHING).rows.tolist() == []


def test_what_is_not_finite_is_never_found():
    given = scores(1, 3, np.nan, 3, -np.inf, 2, np.inf)
    assert top(given, 7, NOTHING).rows.tolist() == [1, 3, 5, 0]
    assert top(given, 2, NOTHING).rows.tolist() == [1, 3]


@given(
    arrays.arrays(np.float32, st.integers(0, 400), elements=st.integers(-3, 3).map(float)),
    st.integers(0, 450),
    st.sets(st.integers(0, 399)),
)
def test_it_is_what_sorting_everything_would_give(given, k, hidden):
    hidden = sorted(row for row in hidden if row < len(given))
    blocked = np.zeros(len(given), bool)
    blocked[hidden[::2]] = True
    found = top(given, k, np.array(hidden[1::2], np.int32), blocked)
    assert found.rows.tolist() == naive(given, k, hidden)
    np.testing.assert_array_equal(found.scores, given[found.rows])


@pytest.mark.parametrize("count", [64 * 50, 64 * 50 + 17, 9_999])
def test_many_scores_are_read_in_blocks_with_the_same_answer(count):
    given = np.random.default_rng(count).normal(size=count).astype(np.float32).round(2)
    for k in (1, 10, 49, 51, 1_000):
        assert best(given, k).rows.tolist() == naive(given, k)
    given[:] = 1.5
    assert best(given, 7).rows.tolist() == list(range(7))


def test_what_remains_of_a_selection():
    only, blocked = np.array([1, 3, 5, 8], np.int32), np.zeros(9, bool)
    blocked[[0, 3]] = True
    assert remaining(only, NOTHING, None).tolist() == [1, 3, 5, 8]
    assert remaining(only, np.array([8, 8, 2], np.int32), blocked).tolist() == [1, 5]
