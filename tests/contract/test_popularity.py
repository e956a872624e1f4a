"""The popularity port: exact counts, each partition's offsets once."""

import random

import pytest

from sluice.events import Partition
from sluice.items import HALF_LIFE_S, LANDMARK_S, MOST_HALF_LIVES, Gain, growth

ZERO, ONE = Partition("shop.interactions", 0), Partition("shop.interactions", 1)


def test_nothing_is_popular_at_first(popularity):
    assert popularity.top(10) == []


def gains(first: int, items: str, amount: float = 1.0) -> list[Gain]:
    return [Gain(first + number, item, amount) for number, item in enumerate(items)]


def test_gains_add_up_and_the_most_popular_come_first(popularity):
    popularity.apply(ZERO, [Gain(0, "a", 1.0), Gain(1, "b", 2.0), Gain(2, "c", 0.5), Gain(3, "b", 0.5)])
    popularity.apply(ZERO, [Gain(8, "a", 3.0), Gain(9, "d", 0.25)])
    assert popularity.top(10) == [("a", 4.0), ("b", 2.5), ("c", 0.5), ("d", 0.25)]
    assert popularity.top(2) == [("a", 4.0), ("b", 2.5)]
    assert popularity.top(0) == []


def test_events_handed_over_again_change_nothing(popularity):
    popularity.apply(ZERO, gains(10, "aab"))
    popularity.apply(ZERO, gains(10, "aab"))
    popularity.apply(ZERO, gains(4, "zz"))
    popularity.apply(ZERO, [])
    assert popularity.top(10) == [("a", 2.0), ("b", 1.0)]


def test_of_a_longer_batch_only_what_is_new_counts(popularity):
    popularity.apply(ZERO, gains(10, "aab"))
    popularity.apply(ZERO, gains(9, "zaabbb"))
    assert popularity.top(10) == [("b", 3.0), ("a", 2.0)]


def test_partitions_and_topics_are_counted_apart(popularity):
    popularity.apply(ZERO, gains(10, "a"))
    popularity.apply(ONE, gains(3, "a"))
    popularity.apply(Partition("other", 0), gains(3, "a"))
    assert popularity.top(10) == [("a", 3.0)]


def test_counts_equal_a_plain_sum_however_slices_overlap(popularity):
    chance, expected, log = random.Random(5), {}, {ZERO: [], ONE: []}
    done = dict.fromkeys(log, 0)
    for number in range(200):
        gain = Gain(number * 2, chance.choice("abcdef"), float(chance.randrange(1, 9)))
        log[chance.choice([ZERO, ONE])].append(gain)
        expected[gain.item_id] = expected.get(gain.item_id, 0.0) + gain.amount
    while any(done[partition] < len(events) for partition, events in log.items()):
        partition = chance.choice(list(log))
        start = chance.randrange(done[partition] + 1)  # anywhere before what is done, as after a crash
        end = min(len(log[partition]), done[partition] + chance.randrange(9))
        popularity.apply(partition, log[partition][start:end])
        done[partition] = max(done[partition], end)
    assert dict(popularity.top(100)) == expected
    counts = [count for _, count in popularity.top(100)]
    assert counts == sorted(counts, reverse=True)


def test_counts_are_there_for_the_next_opener_and_so_are_the_offsets(popularity_port, popularity):
    popularity.apply(ZERO, gains(10, "a"))
    again = popularity_port.open()
    again.apply(ZERO, gains(10, "a"))
    assert again.top(5) == [("a", 1.0)]


def test_threads_with_a_partition_each_lose_nothing(popularity, at_once):
    def work(number: int) -> None:
        for offset in range(50):
            popularity.apply(
                Partition("t", number), [Gain(offset, "shared", 1.0), Gain(offset, f"own{number}", 1.0)]
            )

    assert at_once(*[lambda number=number: work(number) for number in range(4)]) == [None] * 4
    assert dict(popularity.top(10)) == {"shared": 200.0} | {f"own{number}": 50.0 for number in range(4)}


def test_two_writers_of_one_partition_count_each_event_once(popularity_port, popularity, at_once):
    def work() -> None:
        mine = popularity_port.open()
        for offset in range(0, 60, 3):
            mine.apply(ZERO, gains(offset, "aaa"))

    assert at_once(work, work) == [None] * 2
    assert popularity.top(5) == [("a", 60.0)]


def test_an_event_counts_twice_as_much_as_one_a_half_life_earlier():
    assert growth(LANDMARK_S) == 1.0
    for at in (LANDMARK_S, LANDMARK_S + 1e8, LANDMARK_S + 5e8):
        assert growth(at + HALF_LIFE_S) == pytest.approx(2 * growth(at))
    assert growth(4_102_444_800.0) < 1e300  # in the year 2100 there is room left


def test_a_log_whose_clock_runs_wild_makes_nothing_infinite():
    latest = growth((1 << 53) / 1e3)
    assert latest == growth(1e18) == 2.0**MOST_HALF_LIVES
    assert latest * 1e6 * 1e6 < float("inf")
    assert growth(0.0) > 0.0


def test_the_counts_of_some_items_can_be_asked_for(popularity):
    popularity.apply(ZERO, gains(0, "aab"))
    assert popularity.of(["b", "never counted", "a"]) == {"a": 2.0, "b": 1.0}
    assert popularity.of([]) == {}
    assert popularity.of({"é/,", "' OR 1"}) == {}
    popularity.apply(ZERO, gains(3, [f"item {number}" for number in range(5_000)]))
    assert len(popularity.of([f"item {number}" for number in range(10_000)])) == 5_000
