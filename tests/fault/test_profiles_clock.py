"""The profiles process with a wrong clock: nothing is lost or counted early; at worst attribution waits."""

from pathlib import Path

import pytest
from harness import Children, until
from oracle import Truth, all_judged, check_stores, since, tallied
from shop import KEY, WINDOW_MS, Shop

HOURS_S = 3 * 3600.0


@pytest.fixture
def shop(tmp_path: Path, children: Children) -> Shop:
    return Shop(tmp_path, children)


def expected(shop: Shop) -> tuple[Truth, dict]:
    truth = Truth(shop.log, shop.weights)
    return truth, truth.tallied(KEY, {"s1", "s2"}, since(shop.home, KEY), WINDOW_MS)


def test_a_clock_hours_ahead_changes_nothing(shop: Shop) -> None:
    shop.stream(60)
    process = shop.process(clock_by=HOURS_S)
    until(shop.applied, "everything is applied")
    shop.stream(60)  # clicks on answers that a wrong clock would have judged long ago
    until(lambda: shop.applied() and all_judged(shop.home, KEY), "every answer is judged")
    assert process.stop() == 0
    truth, counted = expected(shop)
    check_stores(shop.home, truth)
    assert tallied(shop.home, KEY) == counted


def test_a_clock_hours_behind_makes_attribution_wait_until_it_is_right_again(shop: Shop) -> None:
    shop.stream(80)
    process = shop.process(clock_by=-HOURS_S)
    until(shop.applied, "everything is applied")
    assert process.stop() == 0
    check_stores(shop.home, expected(shop)[0])
    assert tallied(shop.home, KEY) == {}
    process = shop.process()
    until(lambda: all_judged(shop.home, KEY), "every answer is judged")
    assert process.stop() == 0
    assert tallied(shop.home, KEY) == expected(shop)[1]
