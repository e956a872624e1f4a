"""Ids as rows, against a plain list."""

import gc

from hypothesis import given
from hypothesis import strategies as st

from sluice_trainer.vocabulary import Vocabulary

IDS = st.sampled_from("abcdefgh")


@given(st.lists(st.one_of(st.lists(IDS, max_size=5), IDS), max_size=20), st.data())
def test_rows_are_given_in_order_of_appearance_and_never_twice(steps, data):
    """A list of ids is a batch, one id alone is forgotten."""
    made, expected = Vocabulary(), list[str]()
    for step in steps:
        if isinstance(step, str):
            row = expected.index(step) if step in expected else -1
            assert made.forget(step) == row
            if row >= 0:
                expected[row] = ""
        else:
            for each in step:
                if each not in expected:
                    expected.append(each)
            assert made.add(step).tolist() == [expected.index(each) for each in step]
        if data.draw(st.booleans()):
            made = Vocabulary(made.identifiers())
    start = data.draw(st.integers(0, len(expected)))
    assert (len(made), made.identifiers(), made.since(start)) == (len(expected), expected, expected[start:])


def test_the_garbage_collector_passes_it_by():
    made = Vocabulary([f"user-{row}" for row in range(1_000)])
    made.add(["late"])
    assert not [name for name, held in vars(made).items() if gc.is_tracked(held)]
