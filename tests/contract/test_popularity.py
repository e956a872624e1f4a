"""The popularity port: exact counts, each partition's offsets once."""

import random

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

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
    log = gains(10, "zaab")
    popularity.apply(ZERO, log)
    popularity.apply(ZERO, log)
    popularity.apply(ZERO, log[:2])
    popularity.apply(ZERO, [])
    assert popularity.top(10) == [("a", 2.0), ("b", 1.0), ("z", 1.0)]


def test_of_a_longer_batch_only_what_is_new_counts(popularity):
    log = gains(9, "zaabbb")
    popularity.apply(ZERO, log[:4])
    popularity.apply(ZERO, log)
    assert popularity.top(10) == [("b", 3.0), ("a", 2.0), ("z", 1.0)]


def test_partitions_and_topics_are_counted_apart(popularity):
    popularity.apply(ZERO, gains(10, "a"))
    popularity.apply(ONE, gains(3, "a"))
    popularity.apply(Partition("other", 0), gains(3, "a"))
    assert popularity.top(10) == [("a", 3.0)]


@pytest.mark.parametrize("far", [2**31 - 1, 2**31, 2**53])
def test_events_far_into_the_log_count_once_like_any_other(popularity_port, popularity, far):
    popularity.apply(ZERO, gains(far, "ab"))
    popularity_port.open().apply(ZERO, gains(far, "aba"))
    popularity.apply(ZERO, gains(far, "ab"))
    assert popularity_port.open().top(10) == [("a", 2.0), ("b", 1.0)]


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


def test_partitions_at_once_that_read_batches_again_add_each_event_once_to_the_same_items(
    popularity_port, popularity, at_once
):
    log = gains(0, "abcd" * 10)

    def work(partition: Partition) -> None:
        mine, chance = popularity_port.open(), random.Random(partition.number)
        for end in range(5, 41, 5):
            mine.apply(partition, log[chance.randrange(end - 4) : end])

    assert at_once(lambda: work(ZERO), lambda: work(ONE)) == [None] * 2
    assert dict(popularity.top(10)) == dict.fromkeys("abcd", 20.0)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_end_of_the_log_applied_again_in_other_batches_changes_nothing(popularity_port, data):
    items = data.draw(st.text("abcde", min_size=1, max_size=20))
    log, popularity = gains(0, items), popularity_port.elsewhere()
    _apply_in_batches(popularity, log, data)
    expected = popularity.top(10)
    assert dict(expected) == {item: float(items.count(item)) for item in set(items)}
    for _ in range(2):
        _apply_in_batches(popularity, log[data.draw(st.integers(0, len(log))) :], data)
        assert popularity.top(10) == expected


def _apply_in_batches(popularity, log, data):
    while log:
        size = data.draw(st.integers(1, len(log)))
        popularity.apply(ZERO, log[:size])
        log = log[size:]


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
    popularity.apply(ZERO, gains(3, [f"item {number}" for number in range(1_000)]))
    assert len(popularity.of([f"item {number}" for number in range(2_000)])) == 1_000
