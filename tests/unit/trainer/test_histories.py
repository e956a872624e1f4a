"""What the trainer remembers of users, against one event after the other in plain Python."""

from collections import defaultdict

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from sluice.encoder import RECENT_LIMIT
from sluice_trainer.histories import RecentItems, SeenItems
from sluice_trainer.vocabulary import Vocabulary

EVENT = st.tuples(st.integers(0, 6), st.integers(0, 9), st.sampled_from([0.5, 1.0, 3.0]))
FORGET = st.integers(0, 8)
WORK = st.lists(st.lists(EVENT, max_size=70) | FORGET, max_size=8)


def columns(batch):
    users, items, weights = zip(*batch, strict=True) if batch else ((), (), ())
    return np.array(users, np.int32), np.array(items, np.int32), np.array(weights, np.float32)


@given(WORK)
def test_recent_items_are_those_before_each_event_also_within_a_batch(work):
    recent, expected = RecentItems(), defaultdict(list)
    for step in work:
        if isinstance(step, int):
            recent.forget(step)
            expected[step] = []
            continue
        items, weights = recent.push(*columns(step))
        assert items.shape == weights.shape == (len(step), RECENT_LIMIT)
        assert (items.dtype, weights.dtype) == (np.int32, np.float32)
        for row, (user, item, weight) in enumerate(step):
            newest = expected[user][::-1][:RECENT_LIMIT]
            padding = RECENT_LIMIT - len(newest)
            assert items[row].tolist() == [each for each, _ in newest] + [-1] * padding
            assert weights[row].tolist() == [each for _, each in newest] + [0.0] * padding
            expected[user].append((item, weight))


@given(WORK, st.integers(0, 3))
def test_seen_items_are_those_before_each_event_also_within_a_batch(work, merge_every):
    seen, expected = SeenItems(), defaultdict(set)
    for number, step in enumerate(work):
        if isinstance(step, int):
            seen.forget(step)
            expected[step] = set()
            continue
        users, items, _ = columns(step)
        got = seen.push(users, items)
        assert got.tolist() == [
            item in expected[user] or expected[user].add(item) is not None for user, item, _ in step
        ]
        if merge_every and number % merge_every == 0:
            seen._merge()
        asked = np.array([3, 0, 3, 8, *users[:5]], np.int32)
        positions, found = seen.of(asked)
        pairs = list(zip(positions.tolist(), found.tolist(), strict=True))
        assert len(set(pairs)) == len(pairs)
        assert set(pairs) == {(place, item) for place, user in enumerate(asked) for item in expected[user]}


def test_many_pairs_are_merged_and_still_known():
    seen, chance = SeenItems(), np.random.default_rng(1)
    seen.TAIL, seen.RUN = 4096, 9000
    expected: set[tuple[int, int]] = set()
    for _ in range(40):
        users, items = (
            chance.integers(0, 900, 500).astype(np.int32),
            chance.integers(0, 50, 500).astype(np.int32),
        )
        before = [pair in expected for pair in zip(users.tolist(), items.tolist(), strict=True)]
        got = seen.push(users, items)
        assert all(now for now, was in zip(got.tolist(), before, strict=True) if was)
        expected |= set(zip(users.tolist(), items.tolist(), strict=True))
    state = seen.state()
    assert len(state["ends"]) > 1
    assert len(state["runs"]) + len(state["tail"]) == len(expected)
    for run in np.split(state["runs"], state["ends"]):
        assert (np.diff(run) > 0).all()
    positions, items = seen.of(np.arange(900, dtype=np.int32))
    assert set(zip(positions.tolist(), items.tolist(), strict=True)) == expected


@settings(max_examples=25)
@given(WORK, WORK)
def test_after_a_checkpoint_both_go_on_as_if_there_had_been_none(before, after):
    pairs = [(RecentItems(), SeenItems()), (RecentItems(), SeenItems())]

    def work(recent, seen, steps):
        for step in steps:
            if isinstance(step, int):
                recent.forget(step)
                seen.forget(step)
            else:
                users, items, weights = columns(step)
                recent.push(users, items, weights)
                seen.push(users, items)

    for recent, seen in pairs:
        work(recent, seen, before)
    restored = (RecentItems(), SeenItems())
    for one, other in zip(pairs[1], restored, strict=True):
        other.restore(one.state())
    for recent, seen in (pairs[0], restored):
        work(recent, seen, after)
    for one, other in zip(pairs[0], restored, strict=True):
        ours, theirs = one.state(), other.state()
        assert set(ours) == set(theirs)
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_a_state_once_taken_does_not_change_with_what_follows():
    recent, seen = RecentItems(), SeenItems()
    recent.push(*columns([(0, 1, 1.0)]))
    seen.push(*columns([(0, 1, 1.0)])[:2])
    states = [recent.state(), seen.state()]
    copies = [{name: array.copy() for name, array in state.items()} for state in states]
    recent.push(*columns([(0, 2, 1.0), (1, 3, 1.0)]))
    seen.push(*columns([(0, 2, 1.0), (1, 3, 1.0)])[:2])
    recent.forget(0)
    for state, copy in zip(states, copies, strict=True):
        for name in state:
            np.testing.assert_array_equal(state[name], copy[name])


def test_large_user_and_item_numbers_do_not_mix():
    seen, top = SeenItems(), 2**31 - 1
    users, items = np.array([0, 1, 70_000], np.int32), np.array([top, 0, top], np.int32)
    assert seen.push(users, items).tolist() == [False] * 3
    assert seen.push(users, items).tolist() == [True] * 3
    assert seen.push(np.array([0, 1], np.int32), np.array([0, top], np.int32)).tolist() == [False] * 2
    seen._merge()
    assert seen.of(np.array([70_000], np.int32))[1].tolist() == [top]


def test_rows_of_a_vocabulary_are_given_in_order_and_never_change():
    words = Vocabulary()
    assert words.add(["b", "a", "b"]).tolist() == [0, 1, 0]
    assert words.add([]).tolist() == []
    assert words.add(["c", "a"]).tolist() == [2, 1]
    assert len(words) == 3
    again = Vocabulary(words.identifiers())
    assert again.add(["a", "b", "d"]).tolist() == [1, 0, 3]


@pytest.mark.parametrize("user", [0, 5, 10_000])
def test_forgetting_an_unknown_user_changes_nothing(user):
    recent, seen = RecentItems(), SeenItems()
    recent.forget(user)
    seen.forget(user)
    recent.push(*columns([(1, 2, 1.0)]))
    assert recent.push(*columns([(1, 3, 1.0)]))[0][0, 0] == 2
