"""Crediting interactions to answers: the rule, its boundaries, and that reading order does not matter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.routing import Routing
from sluice_recommender.profiles.attribution import (
    ANSWERS_CAP,
    SLACK_MS,
    Click,
    Given,
    Tallied,
    contest_of,
    credits_of,
    due_before,
    given_at,
    keep_answers_from,
    keep_clicks_from,
)

WINDOW = 1_000


def answer(offset, at, items="xy", request_id=None):
    return Given(offset, at, at, request_id or f"r{offset}", "u", "m", "s1", tuple(items))


def click(at, item="x", request_id=None):
    return Click(at, at, "u", item, request_id)


@pytest.mark.parametrize(
    ("name", "answers", "clicks", "credited"),
    [
        ("an item of the answer", [answer(0, 0)], [click(10)], {(0, "x")}),
        ("another item", [answer(0, 0)], [click(10, "z")], set()),
        ("before the answer", [answer(0, 10)], [click(9)], set()),
        ("at the answer", [answer(0, 10)], [click(10)], {(0, "x")}),
        ("at the window's end", [answer(0, 0)], [click(1_000)], {(0, "x")}),
        ("after the window", [answer(0, 0)], [click(1_001)], set()),
        ("the latest of two", [answer(0, 0), answer(1, 5)], [click(10)], {(1, "x")}),
        ("the latest that holds it", [answer(0, 0), answer(1, 5, "z")], [click(10)], {(0, "x")}),
        ("the one named", [answer(0, 0), answer(1, 5)], [click(10, request_id="r0")], {(0, "x")}),
        ("an unknown name", [answer(0, 0), answer(1, 5)], [click(10, request_id="r9")], {(1, "x")}),
        (
            "a name without the item",
            [answer(0, 0, "z"), answer(1, 5)],
            [click(10, request_id="r0")],
            {(1, "x")},
        ),
        ("twice the same item", [answer(0, 0)], [click(10), click(11)], {(0, "x")}),
        ("two items", [answer(0, 0)], [click(10), click(11, "y")], {(0, "x"), (0, "y")}),
        ("none", [], [click(10)], set()),
    ],
)
def test_credits(name, answers, clicks, credited):
    assert credits_of(answers, clicks, WINDOW) == credited, name


EVENTS = st.lists(st.integers(0, 3_000), min_size=1, max_size=8)


@given(given_times=EVENTS, click_times=EVENTS, named=st.integers(0, 7), watermark=st.integers(0, 20_000))
def test_what_may_be_forgotten_bears_on_no_answer_still_to_be_judged(
    given_times, click_times, named, watermark
):
    answers = [answer(offset, at) for offset, at in enumerate(sorted(given_times))]
    clicks = [click(at, request_id=f"r{named}" if at % 2 else None) for at in click_times]
    kept_answers = [each for each in answers if each.logged >= keep_answers_from(watermark, WINDOW)]
    kept_clicks = [each for each in clicks if each.at >= keep_clicks_from(watermark, WINDOW)]
    open_still = {each.offset for each in answers if each.logged >= due_before(watermark, WINDOW)}

    def hits(given, made):
        return {offset for offset, _ in credits_of(given, made, WINDOW)} & open_still

    assert hits(kept_answers, kept_clicks) == hits(answers, clicks)


@given(
    given_times=EVENTS,
    click_times=EVENTS,
    named=st.integers(0, 7),
    cut=st.integers(0, 3_000 + WINDOW + SLACK_MS),
)
def test_an_answer_is_judged_only_when_nothing_later_bears_on_it(given_times, click_times, named, cut):
    answers = [answer(offset, at) for offset, at in enumerate(sorted(given_times))]
    clicks = [click(at, request_id=f"r{named}" if at % 2 else None) for at in click_times]
    due = {each.offset for each in answers if each.logged < due_before(cut, WINDOW)}
    seen_answers = [each for each in answers if each.logged <= cut]
    seen_clicks = [each for each in clicks if each.at <= cut]

    def hits(given, made):
        return {offset for offset, _ in credits_of(given, made, WINDOW)} & due

    assert hits(seen_answers, seen_clicks) == hits(answers, clicks)


@pytest.mark.parametrize(("ts", "at"), [(5_000, 5_000), (9_999, 5_500), (0, 3_500)])
def test_an_answers_own_clock_is_believed_within_the_slack(ts, at):
    assert given_at(ts, logged=5_500) == at


def test_one_user_counts_up_to_the_cap():
    tallied = Tallied()
    for _ in range(ANSWERS_CAP + 50):
        tallied = tallied.add(hit=True)
    assert tallied == Tallied(ANSWERS_CAP, ANSWERS_CAP)


def test_only_a_rollouts_snapshots_since_its_start_count():
    routing = Routing(epoch=1, rollout="r", stable="s1", candidate="s2", weight=5, renewed=0.0)
    contest = contest_of("m", routing, since=10, window_ms=WINDOW)
    assert contest.counts(answer(0, 10))
    assert not contest.counts(answer(0, 9))
    assert not contest.counts(answer(0, 10)._replace(snapshot="s0"))
    assert not contest.counts(answer(0, 10)._replace(user_id="")), "whoever was forgotten"
    calm = contest_of(
        "m", Routing(epoch=1, rollout="r", stable="s1", candidate=None, weight=0, renewed=0.0), 0, 1
    )
    assert not calm.counts(answer(0, 10))
