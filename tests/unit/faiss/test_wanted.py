"""The set arithmetic of a pod: what is wanted, tried, dropped, promised."""

import pytest

from sluice.overlay import OverlayState
from sluice_faiss.wanted import (
    LONGEST_RETRY_S,
    LoadedSnapshot,
    Refusal,
    RefusedSnapshot,
    Wanted,
    WorkerState,
    not_ready,
    not_serving,
    parse,
    refusal,
    to_drop,
    to_load,
    together,
)

LIVE = OverlayState(caught_up=True)
A, B = (LoadedSnapshot(name, f"digest-{name}", 10, 1_000) for name in "ab")


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", ()),
        ("  \n", ()),
        ("[]", ()),
        ('["a", "b"]', ("a", "b")),
        ("a,b", ("a", "b")),
        ("a\nb\n", ("a", "b")),
        (" a , b,, a ", ("a", "b")),
    ],
)
def test_a_list_is_read_in_any_of_its_forms(text, ids):
    assert parse(text) == Wanted(ids)


def test_words_that_are_no_ids_are_told_apart():
    assert parse("a,../etc,B") == Wanted(("a",), ("../etc", "B"))


def test_only_sixteen_snapshots_can_be_wanted():
    wanted = parse(",".join(f"s{number}" for number in range(17)))
    assert len(wanted.ids) == 16
    assert wanted.unusable == ("s16",)


@pytest.mark.parametrize("text", ["[", '["a"', "[1]", "[null]"])
def test_broken_json_is_an_error(text):
    with pytest.raises(ValueError, match=r"."):
        parse(text)


@pytest.mark.parametrize(
    ("wanted", "held", "dropped"),
    [
        ("", "", ""),
        ("", "ab", "ab"),
        ("a", "a", ""),
        ("a", "ab", "b"),
        ("ac", "ab", "b"),
        ("c", "ab", ""),  # nothing wanted serves yet: the last good set stays
    ],
)
def test_what_leaves(wanted, held, dropped):
    assert to_drop(Wanted(tuple(wanted)), set(held)) == set(dropped)


def test_what_is_missing_is_tried_unless_its_retry_lies_ahead():
    refused = {"b": Refusal("cut", 1, retry_at=5.0), "c": Refusal("cut", 1, retry_at=3.0)}
    assert to_load(Wanted(("a", "b", "c", "d")), {"d"}, refused, now=4.0) == ["a", "c"]


def test_the_wait_doubles_up_to_its_limit():
    now, previous, waits = 100.0, None, []
    for _ in range(12):
        previous = refusal(previous, "cut", now)
        waits.append(previous.retry_at - now)
    assert waits[:3] == [0.5, 1.0, 2.0]
    assert max(waits) == waits[-1] == LONGEST_RETRY_S


def test_a_pod_promises_only_what_every_worker_has():
    state = together(
        [WorkerState(wanted=("a", "b"), loaded=(A, B)), WorkerState(wanted=("a", "b"), loaded=(A,))], 2
    )
    assert state.loaded == (A,)
    assert state.wanted == ("a", "b")


def test_a_worker_that_has_not_reported_yet_counts_as_empty():
    assert together([WorkerState(wanted=("a",), loaded=(A,))], 2).loaded == ()


def test_a_worker_that_has_not_seen_the_newest_list_yet_makes_no_pod_unready():
    live = OverlayState(caught_up=True)
    late = WorkerState(wanted=("a", "b"), wanted_at=1.0, loaded=(A, B), overlay=live)
    ahead = WorkerState(wanted=("a",), wanted_at=2.0, loaded=(A,), overlay=live)
    assert not_ready(together([late, ahead], 2)) is None
    wants_more = WorkerState(wanted=("a", "c"), wanted_at=3.0, loaded=(A,), overlay=live)
    assert "c: still loading" in (not_ready(together([late, wants_more], 2)) or "")


def test_refusals_of_any_worker_are_shown_once():
    states = [WorkerState(refused=(RefusedSnapshot("b", "cut"),))] * 2
    assert together(states, 2).refused == (RefusedSnapshot("b", "cut"),)


def test_the_overlay_of_a_pod_is_as_far_as_that_of_its_last_worker():
    ahead = OverlayState(position={"0": 9, "1": 2}, items=7, refused=2, lag=0, caught_up=True)
    behind = OverlayState(position={"0": 4, "1": 3}, items=5, lag=6, caught_up=True)
    states = [WorkerState(overlay=each) for each in (ahead, behind)]
    least = OverlayState(position={"0": 4, "1": 2}, items=5, refused=2, lag=6, caught_up=True)
    assert together(states, 2).overlay == least
    assert not together(states, 3).overlay.caught_up, "one has not told yet"
    assert not together([*states, WorkerState()], 3).overlay.caught_up
    assert together([*states, WorkerState()], 3).overlay.position == {"0": 0, "1": 0}


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (WorkerState(wanted=("a",), loaded=(A,)), "overlay"),
        (WorkerState(overlay=LIVE), None),
        (WorkerState(overlay=LIVE, wanted=("a", "b"), loaded=(A,)), None),
        (WorkerState(overlay=LIVE, wanted=("b",), loaded=(A,)), "b: still loading"),
    ],
)
def test_serving_means_something_wanted_serves(state, reason):
    found = not_serving(state)
    assert found is None if reason is None else reason in found


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (WorkerState(), "overlay"),
        (WorkerState(overlay=LIVE), None),
        (WorkerState(overlay=LIVE, wanted=("a",), loaded=(A, B)), None),
        (WorkerState(overlay=LIVE, wanted=("a", "b"), loaded=(A,)), "b: still loading"),
        (WorkerState(overlay=LIVE, wanted=("b",), refused=(RefusedSnapshot("b", "cut"),)), "b: cut"),
    ],
)
def test_ready_means_everything_wanted_serves(state, reason):
    found = not_ready(state)
    assert found is None if reason is None else reason in found
