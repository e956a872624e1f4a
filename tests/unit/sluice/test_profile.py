"""Folding events into a profile."""

import hypothesis.strategies as st
from hypothesis import given

from sluice.encoder import RECENT_LIMIT
from sluice.profile import SEEN_LIMIT, Applied, Described, Profile, described, fold
from sluice.records import Forget, Interaction, User

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
    whole = fold(NEW, 0, events)
    assert ([each.item_id for each in whole.recent], list(whole.seen)) == oracle(events)
    profile, done = NEW, 0
    for start, length in cuts:
        profile = fold(profile, 0, events[min(start, done) : done + length])
        done = max(done, min(len(events), done + length))
    assert fold(profile, 0, events) == whole
    assert fold(whole, 0, events) == whole


def test_folding_leaves_the_given_profile_as_it_was():
    before = fold(NEW, 0, [viewed(0, "a")])
    copy = fold(NEW, 0, [viewed(0, "a")])
    fold(before, 0, [viewed(1, "b"), Applied(2, 2, Forget(user_id="u"))])
    assert before == copy


def test_only_so_many_seen_items_are_kept_and_the_longest_unseen_falls_out():
    events = [viewed(number, f"i{number}") for number in range(SEEN_LIMIT)]
    profile = fold(NEW, 0, [*events, viewed(SEEN_LIMIT, "i0"), viewed(SEEN_LIMIT + 1, "new")])
    assert len(profile.seen) == SEEN_LIMIT
    assert profile.seen[-2:] == ("i0", "new")
    assert profile.seen[0] == "i2"


def test_the_log_s_time_stands_in_where_an_event_has_none():
    events = [
        Applied(0, 111, Interaction(user_id="u", item_id="a")),
        Applied(1, 222, Interaction(user_id="u", item_id="b", ts=0)),
    ]
    assert [each.ts for each in fold(NEW, 0, events).recent] == [0, 111]


def test_a_forget_leaves_of_the_interactions_nothing_but_the_offset():
    known = fold(Profile(user_id="u", features=("f",), described=True, described_at=4), 0, [viewed(3, "a")])
    after = fold(known, 0, [Applied(7, 7, Forget(user_id="u"))])
    assert after == Profile(user_id="u", features=("f",), described=True, described_at=4, offsets={0: 7})
    assert known.recent


def test_known_is_who_is_described_or_has_interactions():
    assert not NEW.known
    assert fold(NEW, 0, [viewed(3, "a")]).known
    assert not fold(NEW, 0, [viewed(3, "a"), Applied(7, 7, Forget(user_id="u"))]).known
    told = described(NEW, Described(0, User(user_id="u")))
    assert told.known
    assert not described(told, Described(1, None)).known


def test_a_later_record_about_a_user_replaces_the_earlier_one_and_not_the_other_way_round():
    first, second = Described(1, User(user_id="u", features=("f",))), Described(2, None)
    assert described(described(NEW, first), second) == described(described(NEW, second), first)


def test_nothing_to_fold_changes_nothing():
    profile = fold(NEW, 0, [viewed(5, "a")])
    assert fold(profile, 0, []) == profile
    assert fold(profile, 0, [viewed(5, "z"), viewed(2, "z")]) == profile
