import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.encoder import RecentInteraction
from sluice.errors import InvalidRecord
from sluice.filters import Filter
from sluice.profile import Profile
from sluice_recommender.api.asking import Ask, check, fill, query_of, strategy_name, subject_of

CLICKED = Profile(user_id="u", recent=(RecentInteraction("a"),), seen=("a", "b"), features=("age:3",))
DESCRIBED = Profile(user_id="u", features=("age:3",))


@pytest.mark.parametrize(
    ("ask", "profile", "strategy"),
    [
        (Ask(user_id="u"), CLICKED, "personalized"),
        (Ask(user_id="u", items=["x"]), CLICKED, "personalized"),
        (Ask(user_id="u", items=["x"]), DESCRIBED, "session"),
        (Ask(items=["x"], features=["f:1"]), None, "session"),
        (Ask(user_id="u"), DESCRIBED, "features"),
        (Ask(features=["f:1"]), None, "features"),
        (Ask(user_id="u"), None, ""),
        (Ask(), None, ""),
    ],
)
def test_the_first_strategy_that_has_something_to_go_by_is_taken(ask, profile, strategy):
    assert query_of(ask, profile, exclude_seen=True).strategy == strategy


def test_seen_items_are_excluded_if_the_model_says_so():
    ask = Ask(user_id="u", exclude=["c"])
    assert query_of(ask, CLICKED, exclude_seen=True).exclude == ["a", "b", "c"]
    assert query_of(ask, CLICKED, exclude_seen=False).exclude == ["c"]


def test_a_sessions_newest_item_comes_first_and_none_comes_back():
    query = query_of(Ask(items=["old", "new"]), None, exclude_seen=True)
    assert [each.item_id for each in query.recent] == ["new", "old"]
    assert query.exclude == ["old", "new"]


@pytest.mark.parametrize(
    ("ask", "field"),
    [
        (Ask(user_id=""), "user_id"),
        (Ask(user_id="x" * 10_000), "user_id"),
        (Ask(user_id="a\nb"), "user_id"),
        (Ask(items=["ok", ""]), "items"),
        (Ask(exclude=["x" * 257]), "exclude"),
        (Ask(features=["\x00"]), "features"),
        (Ask(session_id=""), "session_id"),
        (Ask(filter=[]), "filter"),
        (Ask(filter=["ok", ""]), "filter"),
        (Ask(filter=Filter(none=("x" * 257,))), "filter"),
    ],
)
def test_an_unusable_field_is_named(ask, field):
    with pytest.raises(InvalidRecord, match=field):
        check(ask)


def test_a_rollout_deals_users_before_sessions_before_requests():
    assert subject_of(Ask(user_id="u", session_id="s"), "r") == "u"
    assert subject_of(Ask(session_id="s"), "r") == "s"
    assert subject_of(Ask(), "r") == "r"


IDS = st.sampled_from("abcdefgh")
RANKED = st.lists(IDS, unique=True).map(lambda ids: [(each, 1.0) for each in ids])


@given(found=RANKED, popular=RANKED, n=st.integers(1, 6), exclude=st.sets(IDS), hidden=st.sets(IDS))
def test_filling_keeps_order_repeats_nothing_and_leaves_out_what_is_not_wanted(
    found, popular, n, exclude, hidden
):
    exclude |= hidden
    found = [pair for pair in found if pair[0] not in exclude]
    filled = fill(found, popular, n, exclude - hidden, lambda item_id: item_id not in hidden)
    ids = [item_id for item_id, _ in filled]
    assert filled[: len(found)] == found[:n]
    assert len(set(ids)) == len(ids) <= n
    assert not set(ids) & exclude
    available = {item_id for item_id, _ in [*found, *popular]} - exclude
    assert len(ids) == min(n, len(available))


@pytest.mark.parametrize(
    ("found", "total", "name"),
    [(0, 0, "popular"), (0, 3, "popular"), (3, 3, "session"), (2, 3, "session+popular")],
)
def test_the_strategy_says_how_the_answer_was_made(found, total, name):
    assert strategy_name("session", found, total) == name
