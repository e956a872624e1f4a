"""Folding events into a profile."""

import hypothesis.strategies as st
from hypothesis import given

from sluice.encoder import RECENT_LIMIT, RecentInteraction
from sluice.profile import SEEN_LIMIT, Applied, Profile, fold
from sluice.records import Forget, Interaction

NEW = Profile(user_id="u")


def viewed(offset: int, item: str) -> Applied:
    return Applied(offset, offset, Interaction(user_id="u", item_id=item))


def oracle(events: list[Applied]) -> tuple[list[str], list[str]]:
    """Recent items newest first and seen items oldest first, by plain lists."""
    recent: list[str] = []
    seen: list[str] = []
    for _, _, event in events:
        if isinstance(event, Forget):
            recent, seen = [], []
        else:
            recent = [event.item_id, *recent][:RECENT_LIMIT]
            seen = [*(each for each in seen if each != event.item_id), event.item_id][-SEEN_LIMIT:]
    return recent, seen


EVENTS = st.lists(st.integers(0, 70), max_size=120).map(
    lambda items: [
        Applied(n, n, Forget(user_id="u")) if item == 0 else viewed(n, f"i{item}")
        for n, item in enumerate(items)
    ]
)


@given(EVENTS, st.lists(st.tuples(st.integers(0, 120), st.integers(0, 120)), max_size=6))
def test_any_slicing_of_the_events_ends_in_the_same_profile(events, cuts):
    whole = fold(NEW, events)
    assert ([each.item_id for each in whole.recent], list(whole.seen)) == oracle(events)
    profile, done = NEW, 0
    for start, length in cuts:
        profile = fold(profile, events[min(start, done) : done + length])
        done = max(done, min(len(events), done + length))
    assert fold(profile, events) == whole
    assert fold(whole, events) == whole


def test_folding_leaves_the_given_profile_as_it_was():
    before = fold(NEW, [viewed(0, "a")])
    copy = fold(NEW, [viewed(0, "a")])
    fold(before, [viewed(1, "b"), Applied(2, 2, Forget(user_id="u"))])
    assert before == copy


def test_only_so_many_seen_items_are_kept_and_the_longest_unseen_falls_out():
    events = [viewed(number, f"i{number}") for number in range(SEEN_LIMIT)]
    profile = fold(NEW, [*events, viewed(SEEN_LIMIT, "i0"), viewed(SEEN_LIMIT + 1, "new")])
    assert len(profile.seen) == SEEN_LIMIT
    assert profile.seen[-2:] == ("i0", "new")
    assert profile.seen[0] == "i2"


def test_the_log_s_time_stands_in_where_an_event_has_none():
    events = [
        Applied(0, 111, Interaction(user_id="u", item_id="a")),
        Applied(1, 222, Interaction(user_id="u", item_id="b", ts=0)),
    ]
    assert [each.ts for each in fold(NEW, events).recent] == [0, 111]


def test_a_forget_leaves_nothing_but_the_offset():
    known = Profile(
        user_id="u",
        recent=(RecentInteraction("a"),),
        seen=("a",),
        features=("f",),
        interests={"x": 1.0},
        views={"v": {}},
        offset=3,
    )
    after = fold(known, [Applied(7, 7, Forget(user_id="u"))])
    assert after == Profile(user_id="u", offset=7)
    assert after.forgotten
    assert not known.forgotten
    assert not NEW.forgotten


def test_nothing_to_fold_changes_nothing():
    profile = fold(NEW, [viewed(5, "a")])
    assert fold(profile, []) == profile
    assert fold(profile, [viewed(5, "z"), viewed(2, "z")]) == profile
