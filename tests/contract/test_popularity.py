"""The popularity port: exact counts, each partition's offsets once."""

import random

import pytest

from sluice.events import Partition
from sluice.items import HALF_LIFE_S, LANDMARK_S, growth

ZERO, ONE = Partition("shop.interactions", 0), Partition("shop.interactions", 1)


def test_nothing_is_popular_at_first(popularity):
    assert popularity.top(10) == []


def test_gains_add_up_and_the_most_popular_come_first(popularity):
    popularity.apply(ZERO, 10, {"a": 1.0, "b": 2.5, "c": 0.5})
    popularity.apply(ZERO, 20, {"a": 3.0, "d": 0.25})
    assert popularity.top(10) == [("a", 4.0), ("b", 2.5), ("c", 0.5), ("d", 0.25)]
    assert popularity.top(2) == [("a", 4.0), ("b", 2.5)]
    assert popularity.top(0) == []


def test_a_batch_handed_over_again_changes_nothing(popularity):
    popularity.apply(ZERO, 10, {"a": 1.0})
    popularity.apply(ZERO, 10, {"a": 1.0, "b": 5.0})
    popularity.apply(ZERO, 4, {"a": 9.0})
    assert popularity.top(10) == [("a", 1.0)]


def test_partitions_and_topics_are_counted_apart(popularity):
    popularity.apply(ZERO, 10, {"a": 1.0})
    popularity.apply(ONE, 3, {"a": 1.0})
    popularity.apply(Partition("other", 0), 3, {"a": 1.0})
    assert popularity.top(10) == [("a", 3.0)]


def test_a_batch_without_gains_still_moves_the_offset(popularity):
    popularity.apply(ZERO, 10, {})
    popularity.apply(ZERO, 10, {"a": 1.0})
    assert popularity.top(10) == []


def test_counts_equal_a_plain_sum_however_often_batches_come_again(popularity):
    chance, expected, batches = random.Random(5), {}, []
    for number in range(60):
        partition = chance.choice([ZERO, ONE])
        gains = {chance.choice("abcdef"): float(chance.randrange(1, 9)) for _ in range(3)}
        batches.append((partition, number + 1, gains))
        for item, gain in gains.items():
            expected[item] = expected.get(item, 0.0) + gain
        for again in batches[max(0, number - chance.randrange(4)) :]:
            popularity.apply(*again)
    assert dict(popularity.top(100)) == expected
    counts = [count for _, count in popularity.top(100)]
    assert counts == sorted(counts, reverse=True)


def test_a_reader_learns_from_where_to_count_on(popularity_port, popularity):
    assert popularity.counted_to(ZERO) == 0
    popularity.apply(ZERO, 10, {"a": 1.0})
    popularity.apply(ZERO, 4, {"a": 1.0})
    popularity.apply(ONE, 3, {})
    again = popularity_port.open()
    assert (again.counted_to(ZERO), again.counted_to(ONE)) == (10, 3)
    assert again.counted_to(Partition("other", 0)) == 0


def test_counts_are_there_for_the_next_opener_and_so_are_the_offsets(popularity_port, popularity):
    popularity.apply(ZERO, 10, {"a": 1.0})
    again = popularity_port.open()
    again.apply(ZERO, 10, {"a": 1.0})
    assert again.top(5) == [("a", 1.0)]


def test_threads_with_a_partition_each_lose_nothing(popularity, at_once):
    def work(number: int) -> None:
        for offset in range(50):
            popularity.apply(Partition("t", number), offset + 1, {"shared": 1.0, f"own{number}": 1.0})

    assert at_once(*[lambda number=number: work(number) for number in range(4)]) == [None] * 4
    assert dict(popularity.top(10)) == {"shared": 200.0} | {f"own{number}": 50.0 for number in range(4)}


def test_an_event_counts_twice_as_much_as_one_a_half_life_earlier():
    assert growth(LANDMARK_S) == 1.0
    for at in (LANDMARK_S, LANDMARK_S + 1e8, LANDMARK_S + 5e8):
        assert growth(at + HALF_LIFE_S) == pytest.approx(2 * growth(at))
    assert growth(4_102_444_800.0) < 1e300  # in the year 2100 there is room left
