"""Ranks and scores, against slow and obvious computations."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from sluice.evidence import Paired
from sluice_trainer import evaluation
from sluice_trainer.evaluation import MISS, Events, Window
from sluice_trainer.learners.protocol import Interactions

NUMBERS = st.sampled_from([0.0, 1.0, 1.0, 2.0, 3.5, -1.0, np.nan, np.inf, -np.inf])


@st.composite
def cases(draw):
    users, items = draw(st.integers(1, 6)), draw(st.integers(1, 9))
    scores = np.array(draw(st.lists(NUMBERS, min_size=users * items, max_size=users * items)), np.float32)
    wanted = draw(st.lists(st.integers(-1, items - 1), min_size=users, max_size=users))
    seen = [draw(st.sets(st.integers(-1, items - 1), max_size=items)) - {item} for item in wanted]
    return scores.reshape(users, items), np.array(wanted, np.int32), seen


def pairs(seen):
    flat = [(place, item) for place, items in enumerate(seen) for item in items]
    return np.array([p for p, _ in flat], np.intp), np.array([i for _, i in flat], np.int32)


def slow_rank(scores, item, seen) -> int:
    """One by one: how many of the others that the user has not seen score as high; nan is never high."""
    if item < 0 or not np.isfinite(scores[item]):
        return MISS
    return 1 + sum(
        other != item and other not in seen and bool(scores[other] >= scores[item])
        for other in range(len(scores))
    )


@given(cases())
def test_ranks_are_those_of_a_slow_count_with_ties_nan_and_unknown_items(case):
    scores, wanted, seen = case
    expected = [slow_rank(*each) for each in zip(scores, wanted, seen, strict=True)]
    assert evaluation.rank(scores, wanted, pairs(seen)).tolist() == expected


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=9),
    st.data(),
)
def test_popularity_ranks_are_those_of_a_slow_count(counts, data):
    users = data.draw(st.integers(1, 6))
    index = st.integers(0, len(counts) - 1)
    wanted = np.array(data.draw(st.lists(index, min_size=users, max_size=users)), np.int32)
    seen = [data.draw(st.sets(index)) - {int(item)} for item in wanted]
    empty = np.empty((users, 0))
    events = Events(wanted, empty.astype(np.int32), empty.astype(np.float32), pairs(seen))
    expected = [
        slow_rank(np.array(counts, float), item, theirs) if counts[item] > 0 else MISS
        for item, theirs in zip(wanted, seen, strict=True)
    ]
    assert evaluation.popularity_ranks(np.array(counts, np.float32), events).tolist() == expected


def test_equal_scores_count_against_the_contender():
    scores = np.zeros((1, 10), np.float32)
    nothing = pairs([set()])
    assert evaluation.rank(scores, np.array([4], np.int32), nothing).tolist() == [10]
    assert evaluation.rank(scores, np.array([4], np.int32), pairs([{0, 1, 2}])).tolist() == [7]


def test_no_events_have_no_ranks():
    none = np.empty(0, np.int32)
    assert evaluation.rank(np.empty((0, 5), np.float32), none, pairs([])).tolist() == []


@given(cases(), st.data())
def test_taking_and_slicing_events_keeps_each_with_its_own_history(case, data):
    _, wanted, seen = case
    n = len(wanted)
    recent = np.arange(n * 2, dtype=np.int32).reshape(n, 2)
    events = Events(wanted, recent, recent.astype(np.float32), pairs(seen))
    chosen = np.array(sorted(data.draw(st.sets(st.integers(0, n - 1)))), np.intp)
    start, stop = sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))
    for part, places in (
        (events.take(chosen), chosen.tolist()),
        (events.slice(start, stop), range(start, stop)),
    ):
        assert part.items.tolist() == [wanted[place] for place in places]
        assert part.recent.tolist() == [recent[place].tolist() for place in places]
        got = list(zip(part.seen[0].tolist(), part.seen[1].tolist(), strict=True))
        assert sorted(got) == sorted((new, item) for new, old in enumerate(places) for item in seen[old])


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("recall@1", [1, 0, 0, 0]),
        ("recall@10", [1, 1, 0, 0]),
        ("recall@11", [1, 1, 1, 0]),
        ("mrr", [1.0, 0.1, 1 / 11, 0.0]),
    ],
)
def test_scores_of_ranks(metric, expected):
    ranks = np.array([1, 10, 11, MISS], np.int32)
    np.testing.assert_allclose(evaluation.score(metric, ranks), expected)


@given(st.lists(st.tuples(*[st.sampled_from([1, 3, 20, 21, 999, MISS])] * 3), max_size=30))
def test_paired_sums_are_those_of_one_event_after_the_other(rows):
    columns = np.array(rows, np.int32).reshape(len(rows), 3)
    ranks = dict(zip(evaluation.CONTENDERS, columns.T, strict=True))
    made = evaluation.paired(["recall@20", "mrr"], ranks)
    for metric, one in (
        ("recall@20", lambda r: float(r <= 20)),
        ("mrr", lambda r: 0.0 if r == MISS else 1 / r),
    ):
        expected = Paired()
        for row in rows:
            c, s, p = (one(rank) for rank in row)
            expected += Paired(
                n=1,
                candidate=c,
                stable=s,
                popular=p,
                candidate_squared=c * c,
                stable_squared=s * s,
                popular_squared=p * p,
                candidate_stable=c * s,
                candidate_popular=c * p,
            )
        for field in Paired.__struct_fields__:
            assert getattr(made[metric], field) == pytest.approx(getattr(expected, field))


def test_a_window_sums_up_all_and_the_newest():
    chance, window = np.random.default_rng(3), Window()
    assert window.summary() == {"samples": 0.0}
    stable, popular = [], []
    for size in (1, 0, 900, Window.SIZE + 77, 3, 1500):
        batch = chance.choice([1, 2, 10, 11, 20, 21, MISS], size=(2, size)).astype(np.int32)
        window.push(*batch)
        stable.extend(batch[0].tolist())
        popular.extend(batch[1].tolist())
        made = window.summary()
        assert made["samples"] == len(stable)
        for prefix, ranks in (("", stable), ("popular:", popular)):
            newest = ranks[-Window.SIZE :]
            for k in (10, 20):
                assert made[f"{prefix}recall@{k}"] == pytest.approx(np.mean([r <= k for r in ranks]))
                assert made[f"window:{prefix}recall@{k}"] == pytest.approx(np.mean([r <= k for r in newest]))
            mrr = np.mean([0 if r == MISS else 1 / r for r in ranks])
            assert made[f"{prefix}mrr"] == pytest.approx(mrr)


def test_a_restored_window_goes_on_as_if_nothing_had_happened():
    chance, one, other = np.random.default_rng(4), Window(), Window()
    batches = [chance.integers(1, 50, size=(2, 700)).astype(np.int32) for _ in range(6)]
    for batch in batches[:3]:
        one.push(*batch)
    other.restore(one.state())
    for batch in batches[3:]:
        one.push(*batch)
        other.push(*batch)
    assert one.summary() == other.summary()


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.booleans()), max_size=30),
    st.data(),
)
def test_what_was_seen_within_a_batch_is_what_came_before_of_the_same_user(events, data):
    users, items, first = zip(*events, strict=True) if events else ((), (), ())
    places = st.integers(0, len(events) - 1) if events else st.nothing()
    asked = sorted(data.draw(st.sets(places)))
    columns = np.array(users, np.int32), np.array(items, np.int32)
    empty = np.empty((len(events), 0))
    batch = Interactions(*columns, empty[:, 0:0], empty.astype(np.int32), empty, np.arange(len(events)))
    positions, seen = evaluation.seen_within(batch, np.array(first, bool), np.array(asked, np.intp))
    expected = [
        (number, items[early])
        for number, place in enumerate(asked)
        for early in range(place)
        if users[early] == users[place] and first[early]
    ]
    assert list(zip(positions.tolist(), seen.tolist(), strict=True)) == expected
    both = evaluation.merged((positions, seen), (positions[:1], seen[:1]))
    assert both[0].tolist() == sorted(positions.tolist() + positions[:1].tolist())


def test_a_sample_is_about_its_share_and_the_same_each_time():
    keys = np.arange(100_000, dtype=np.uint64) + np.uint64(7 << 48)
    chosen = evaluation.sampled(keys, 10)
    assert 9_500 < chosen.sum() < 10_500
    np.testing.assert_array_equal(chosen[500:900], evaluation.sampled(keys[500:900], 10))
    assert evaluation.sampled(keys, 1).all()


class Unsolvable:
    """An encoder's part of a unit that some users' weights break."""

    class items:
        ids = range(3)

        @staticmethod
        def scores(query):
            return np.tile(np.array([3.0, 2.0, 1.0], np.float32), (len(query), 1))

    @staticmethod
    def encode_rows(rows, weights):
        if (weights > 10).any():
            raise np.linalg.LinAlgError("Singular matrix")
        return weights


def test_a_query_that_cannot_be_solved_is_a_miss_for_its_user_alone():
    weights = np.array([[1.0], [99.0], [1.0], [1.0], [99.0]], np.float32)
    recent = np.zeros((5, 1), np.int32)
    events = Events(np.array([0, 1, 1, 2, 2], np.int32), recent, weights, pairs([set()] * 5))
    ranks = evaluation.ranks_of(Unsolvable, np.arange(3, dtype=np.int32), events)
    assert ranks.tolist() == [1, MISS, 2, 3, MISS]
