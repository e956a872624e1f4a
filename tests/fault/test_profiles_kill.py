"""The profiles process killed at each of its durable writes: what it keeps stays what the log says."""

import signal
from pathlib import Path

import pytest
from dying import between
from harness import Children, until
from oracle import Truth, all_judged, check_stores, since, tallied
from shop import KEY, WINDOW_MS, Shop


@pytest.fixture
def shop(tmp_path: Path, children: Children) -> Shop:
    return Shop(tmp_path, children)


WRITES = 13
"""In one life: topics; attribution begun; stores, attribution, the group asked, dead letters, positions; credit."""


@pytest.mark.smoke
def test_killed_at_each_durable_write_it_ends_where_the_log_says(shop: Shop) -> None:
    shop.stream(60)
    for at, after in between(WRITES):
        killed = shop.process(at=at, after=after)
        assert killed.ended() == -signal.SIGKILL, f"it did not come to write {at}"
        shop.stream(25)  # the batch that is read again is a longer one

    process = shop.process()
    until(shop.applied, "everything is applied")
    until(lambda: all_judged(shop.home, KEY), "every answer is judged")
    assert process.stop() == 0
    truth = Truth(shop.log, shop.weights)
    check_stores(shop.home, truth)
    assert truth.repeated
    assert truth.forgets
    expected = truth.tallied(KEY, {"s1", "s2"}, since(shop.home, KEY), WINDOW_MS)
    assert sum(hits for _, hits in expected.values())
    assert tallied(shop.home, KEY) == expected


@pytest.mark.smoke
def test_a_second_process_of_the_source_does_not_start(shop: Shop) -> None:
    first = shop.process()
    until(shop.applied, "the first works")
    until(lambda: "keeping profiles" in first.says(), "it says so")
    second = shop.process()
    assert second.ended() == 2
    assert "in use by another process" in second.says()
    assert first.stop() == 0
