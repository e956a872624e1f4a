"""The log's time by two clocks of which either may be wrong; and popularity, which uses nothing else."""

import pytest

from sluice.duplicates import Duplicates
from sluice.events import Partition, StoredRecord
from sluice.items import growth
from sluice.topics import topics_of
from sluice_recommender.profiles.batch import Batch
from sluice_recommender.profiles.log_time import Clocks, LogTime

T = 1_700_000_000_000
HOURS = 3 * 3_600_000
TOPICS = topics_of("shop")


class Hands:
    """Two clocks that are set by hand, in milliseconds."""

    def __init__(self) -> None:
        self.wall, self.monotonic = T, 50_000

    def clocks(self) -> Clocks:
        return Clocks(lambda: self.wall / 1e3, lambda: self.monotonic / 1e3)

    def pass_by(self, milliseconds: int) -> None:
        self.wall += milliseconds
        self.monotonic += milliseconds


def test_before_any_record_the_wall_clock_is_believed():
    assert LogTime(Hands().clocks(), 0).now() == T


def test_an_idle_log_s_time_goes_on():
    hands = Hands()
    time = LogTime(hands.clocks(), T)
    hands.pass_by(5_000)
    assert time.now() == T + 5_000


@pytest.mark.parametrize(
    ("name", "wall", "newest", "now"),
    [
        ("both right", T, T, T),
        ("this process ahead", T + HOURS, T, T),
        ("a writer ahead", T, T + HOURS, T),
        ("this process behind", T - HOURS, T, T - HOURS),
    ],
)
def test_the_earlier_clock_counts(name, wall, newest, now):
    hands = Hands()
    hands.wall = wall
    assert LogTime(hands.clocks(), newest).now() == now, name


def test_a_jump_of_the_wall_clock_forwards_changes_nothing():
    hands = Hands()
    time = LogTime(hands.clocks(), T)
    hands.wall += HOURS
    hands.pass_by(10)
    time.seen(T + 10)
    assert time.now() == T + 10


def gain(ts: str, logged: int) -> float:
    value = f'{{"user_id":"u","item_id":"i","ts":{ts}}}'.encode()
    record = StoredRecord(Partition(TOPICS.interactions, 0), 0, logged, b"u", value)
    batch = Batch(TOPICS, {}, Duplicates()).sort([record])
    [[only]] = batch.gains.values()
    return only.amount


@pytest.mark.parametrize("ts", ["null", "0", str(T + HOURS), str((1 << 53) - 1)])
def test_popularity_goes_by_the_log_s_time_whatever_an_event_says(ts):
    assert gain(ts, T) == growth(T / 1e3)


def test_a_log_hours_ahead_makes_an_event_count_a_third_of_a_percent_more():
    assert gain("null", T + HOURS) / gain("null", T) == pytest.approx(1.003, abs=2e-4)
