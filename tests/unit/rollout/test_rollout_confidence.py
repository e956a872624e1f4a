"""The bounds: known values, degenerate evidence, and the false alarm rate when one looks all the time."""

import math
import random

import pytest

from sluice_operator.rollout.confidence import (
    ALPHA,
    cluster_sd,
    guarded_sd,
    half_width,
    mean_interval,
    samples_to_clear,
    share_interval,
    share_samples_to_clear,
)


@pytest.mark.parametrize(("n", "width"), [(1000, 0.0225), (5000, 0.0105)])
def test_half_width_of_the_design(n: int, width: float) -> None:
    assert half_width(0.235, n) == pytest.approx(width, abs=1e-4)


def test_half_width_shrinks_and_is_infinite_without_samples() -> None:
    widths = [half_width(1.0, n) for n in (0, 1, 10, 100, 1000, 10_000)]
    assert widths[0] == math.inf
    assert widths == sorted(widths, reverse=True)


def test_tuning_makes_it_tightest_where_it_says() -> None:
    tuned = half_width(1.0, 1000)
    assert all(tuned <= half_width(1.0, 1000, tuned_for=other) for other in (100, 500, 2000, 10_000))


@pytest.mark.parametrize("n", [1, 2, 10, 100, 150])
def test_agreement_on_a_few_events_decides_nothing(n: int) -> None:
    _, lower, upper = mean_interval(0.0, 0.0, n)
    assert lower < -0.02 < 0.02 < upper


def test_agreement_never_clears_a_margin_of_zero() -> None:
    assert all(mean_interval(0.0, 0.0, n).lower < 0.0 for n in (10**3, 10**6, 10**9))


def test_guard_is_one_percent_at_a_thousand() -> None:
    assert guarded_sd(0.0, 1000 * 0.235**2, 1000) == pytest.approx(0.235, rel=0.011)


def test_clusters_need_two_and_never_have_deviation_zero() -> None:
    assert cluster_sd((0.0, 1)) == math.inf
    assert cluster_sd((0.0, 500)) > 0.0
    assert cluster_sd((0.0004, 500), (0.0001, 5000)) == pytest.approx(math.sqrt(500 * 0.0005), rel=0.01)


@pytest.mark.parametrize("sd", [0.05, 0.235, 1.0])
def test_samples_to_clear_is_the_first_that_clears(sd: float) -> None:
    needed = samples_to_clear(sd, 0.02)
    assert needed is not None
    assert half_width(sd, needed) <= 0.02 < half_width(sd, needed - 1)


@pytest.mark.parametrize(("sd", "distance"), [(0.2, 0.0), (math.inf, 0.1), (math.nan, 0.1), (0.2, 1e-9)])
def test_samples_to_clear_admits_what_it_cannot_say(sd: float, distance: float) -> None:
    assert samples_to_clear(sd, distance) is None


def test_no_error_in_480_clears_one_percent() -> None:
    assert share_interval(0, 480, 0.01).upper < 0.01
    assert share_interval(0, 470, 0.01).upper > 0.01
    assert share_samples_to_clear(0, 100, 0.01) == pytest.approx(475, abs=5)


@pytest.mark.parametrize(("bad", "n"), [(0, 1), (1, 1), (0, 10**6), (10**6, 10**6), (3, 500), (250, 500)])
@pytest.mark.parametrize("limit", [0.0, 0.001, 0.01, 0.5, 1.0])
def test_share_bounds_enclose_the_share_and_stay_in_range(bad: int, n: int, limit: float) -> None:
    value, lower, upper = share_interval(bad, n, limit)
    assert 0.0 <= lower <= value <= upper <= 1.0
    assert upper - lower > 0.0


def test_no_requests_say_nothing() -> None:
    assert share_interval(0, 0, 0.01)[1:] == (0.0, 1.0)


@pytest.mark.parametrize("args", [(0, 0, 0.01), (1, 100, 0.01), (0, 10, 0.0), (5, 10, 1.0)])
def test_share_samples_admit_what_they_cannot_say(args: tuple[int, int, float]) -> None:
    assert share_samples_to_clear(*args) is None


def test_false_fail_rate_under_optional_stopping_of_a_difference() -> None:
    """True difference exactly at −margin: looking every 25 events must ever fail it in at most α of the runs."""
    draw, runs, margin, wrong = random.Random(7), 400, 0.02, 0
    for _ in range(runs):
        total = squares = 0.0
        for n in range(1, 2501):
            u = draw.random()
            d = 1.0 if u < 0.02 else -1.0 if u < 0.06 else 0.0
            total, squares = total + d, squares + abs(d)
            if n >= 200 and n % 25 == 0 and mean_interval(total, squares, n).upper < -margin:
                wrong += 1
                break
    assert wrong / runs <= ALPHA


def test_false_verdict_rate_under_optional_stopping_of_a_share() -> None:
    """True error rate exactly at the limit: neither bound may ever exclude it in more than α of the runs."""
    draw, runs, wrong = random.Random(11), 400, 0
    for _ in range(runs):
        bad = 0
        for n in range(1, 2001):
            bad += draw.random() < 0.01
            if n % 50 == 0:
                _, lower, upper = share_interval(bad, n, 0.01)
                if not lower <= 0.01 <= upper:
                    wrong += 1
                    break
    assert wrong / runs <= ALPHA
