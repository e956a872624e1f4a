"""Repeats by event id: a pure function of the log, with bounded memory."""

import hypothesis.strategies as st
from hypothesis import given

from sluice.duplicates import WINDOW, Duplicates

ASKED = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 4), st.integers(0, 12)), max_size=80)


def ask(duplicates: Duplicates, steps, heads: dict[int, int]) -> list[bool]:
    answers = []
    for partition, gap, event_id in steps:
        heads[partition] = heads.get(partition, 0) + gap
        answers.append(duplicates.repeated(partition, heads[partition], f"e{event_id}"))
    return answers


def by_hand(steps, window: int) -> list[bool]:
    """Look for each event's id at every offset of its partition within the window before it."""
    log: list[tuple[int, int, int]] = []
    heads: dict[int, int] = {}
    answers = []
    for partition, gap, event_id in steps:
        offset = heads[partition] = heads.get(partition, 0) + gap
        answers.append(
            any(
                there == partition and same == event_id and offset - window <= earlier < offset
                for there, earlier, same in log
            )
        )
        log.append((partition, offset, event_id))
    return answers


@given(ASKED, st.integers(1, 9))
def test_a_repeat_is_what_the_window_before_it_holds(steps, window):
    assert ask(Duplicates(window), steps, {}) == by_hand(steps, window)


@given(ASKED, st.integers(0, 80), st.integers(1, 6))
def test_a_reader_that_reads_the_window_before_its_position_knows_the_same(steps, cut, window):
    one, heads = Duplicates(window), {}
    ask(one, steps[:cut], heads)
    late, offsets = Duplicates(window), {}
    for partition, gap, event_id in steps[:cut]:
        offsets[partition] = offsets.get(partition, 0) + gap
        if offsets[partition] >= heads[partition] + 1 - window:
            late.repeated(partition, offsets[partition], f"e{event_id}")
    assert ask(one, steps[cut:], dict(heads)) == ask(late, steps[cut:], dict(heads))


def test_memory_is_bounded_however_long_the_log():
    duplicates = Duplicates(window=50)
    for offset in range(10_000):
        assert not duplicates.repeated(0, offset, f"e{offset}")
    assert len(duplicates._seen[0]) <= 100
    assert WINDOW == 100_000
