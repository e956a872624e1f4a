"""The profiles port: every event is folded in exactly once, however it is handed over."""

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from sluice.encoder import RECENT_LIMIT, RecentInteraction
from sluice.events import Partition
from sluice.profile import Applied, Described, Profile
from sluice.records import Forget, Interaction, User

PART = Partition("shop.interactions", 0)


def viewed(offset: int, item: str, user: str = "u", ts: int | None = None) -> Applied:
    return Applied(offset, 1_000 + offset, Interaction(user_id=user, item_id=item, ts=ts))


def forgot(offset: int, user: str = "u") -> Applied:
    return Applied(offset, 1_000 + offset, Forget(user_id=user))


def said(offset: int, **fields: object) -> dict[str, Described]:
    """One record of the users topic about ``u``."""
    return {"u": Described(offset, User(user_id="u", **fields))}  # type: ignore[arg-type]


def by_user(events) -> dict[str, list[Applied]]:
    grouped: dict[str, list[Applied]] = {}
    for each in events:
        grouped.setdefault(each.event.user_id, []).append(each)
    return grouped


def test_nobody_is_known_at_first(profiles):
    assert profiles.get("u") is None


def test_a_profile_holds_the_newest_interactions_first_and_the_seen_items_oldest_first(profiles):
    profiles.apply(PART, {"u": [viewed(0, "a"), viewed(1, "b", ts=77), viewed(4, "a")]})
    profile = profiles.get("u")
    assert profile.user_id == "u"
    assert profile.recent == (
        RecentInteraction("a", "view", 1.0, 1_004),
        RecentInteraction("b", "view", 1.0, 77),
        RecentInteraction("a", "view", 1.0, 1_000),
    )
    assert profile.seen == ("b", "a")


def test_an_events_kind_and_value_are_kept(profiles):
    event = Interaction(user_id="u", item_id="a", event="cart", value=2.5)
    profiles.apply(PART, {"u": [Applied(0, 9, event)]})
    assert profiles.get("u").recent == (RecentInteraction("a", "cart", 2.5, 9),)


def test_only_the_newest_interactions_are_kept(profiles):
    profiles.apply(PART, {"u": [viewed(number, f"i{number}") for number in range(RECENT_LIMIT + 7)]})
    recent = profiles.get("u").recent
    assert [each.item_id for each in recent] == [f"i{n}" for n in range(RECENT_LIMIT + 6, 6, -1)]
    assert len(profiles.get("u").seen) == RECENT_LIMIT + 7


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_each_event_counts_once_in_whatever_overlapping_slices_it_is_handed_over(profiles_port, data):
    kinds = st.tuples(st.sampled_from("uvw"), st.sampled_from("abcd"), st.integers(0, 9))
    events = [
        forgot(offset, user) if kind == 0 else viewed(offset, item, user)
        for offset, (user, item, kind) in enumerate(data.draw(st.lists(kinds, max_size=25)))
    ]
    once, sliced = profiles_port.elsewhere(), profiles_port.elsewhere()
    for each in events:
        once.apply(PART, by_user([each]))
    done = 0
    while done < len(events):  # a slice may begin anywhere before what is done, as after a crash
        start = data.draw(st.integers(0, done))
        done = data.draw(st.integers(done + 1, len(events)))
        for _ in range(data.draw(st.integers(1, 2))):
            sliced.apply(PART, by_user(events[start:done]))
    for user in "uvw":
        assert sliced.get(user) == once.get(user)


def test_a_forgotten_user_is_unknown_and_stays_so_when_the_log_is_read_again(profiles):
    events = [viewed(0, "a"), viewed(1, "b"), forgot(2)]
    profiles.describe(said(0, features=("f",)))
    profiles.apply(PART, {"u": events})
    profiles.describe({"u": Described(1, None)})
    assert profiles.get("u") is None
    for end in (1, 2, 3):
        profiles.apply(PART, {"u": events[:end]})
        profiles.describe(said(0, features=("f",)))
        assert profiles.get("u") is None


def test_a_forgotten_user_starts_afresh_with_the_next_interaction(profiles):
    profiles.apply(PART, {"u": [viewed(0, "a"), forgot(1), viewed(2, "b")]})
    profile = profiles.get("u")
    assert [each.item_id for each in profile.recent] == ["b"]
    assert profile.seen == ("b",)


@pytest.mark.parametrize("far", [2**31 - 1, 2**31, 2**53])
def test_a_profile_far_into_the_log_is_one_like_any_other(profiles_port, profiles, far):
    profiles.apply(PART, {"u": [viewed(far, "a")]})
    profiles.describe({"u": Described(far, User(user_id="u", features=("f",)))})
    again = profiles_port.open()
    written = again.apply(PART, {"u": [viewed(far, "a"), viewed(far + 1, "b")]})
    described = again.describe({"u": Described(far + 1, User(user_id="u", features=("g",)))})
    profile = again.get("u")
    assert (profile.seen, profile.features) == (("a", "b"), ("g",))
    assert (profile.offsets, profile.described_at) == ({0: far + 1}, far + 1)
    assert described["u"] == profile
    for each in (written["u"], described["u"], profile):  # it can be sent on
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(each), type=Profile) == each


def test_interactions_and_descriptions_are_forgotten_apart(profiles):
    profiles.describe(said(0, features=("f",), interests={"x": 1.0}))
    profiles.apply(PART, {"u": [viewed(0, "a"), forgot(1)]})
    assert (profiles.get("u").features, profiles.get("u").recent) == (("f",), ())
    profiles.apply(PART, {"u": [viewed(2, "b")]})
    profiles.describe({"u": Described(1, None)})
    profile = profiles.get("u")
    assert (profile.features, profile.interests, profile.described) == ((), {}, False)
    assert profile.seen == ("b",)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_it_does_not_matter_which_topic_is_read_first_or_how_often(profiles_port, data):
    acts = data.draw(st.lists(st.sampled_from("abcF"), max_size=12))
    events = [forgot(n) if act == "F" else viewed(n, act) for n, act in enumerate(acts)]
    words = data.draw(st.lists(st.sampled_from("xyzT"), max_size=6))
    records = [
        {"u": Described(n, None)} if word == "T" else said(n, features=(word,))
        for n, word in enumerate(words)
    ]
    one, other = profiles_port.elsewhere(), profiles_port.elsewhere()
    one.apply(PART, {"u": events})
    for record in records:
        one.describe(record)
    steps = data.draw(st.permutations([0] * len(events) + [1] * len(records)))
    read = [0, 0]
    for topic in steps:
        read[topic] += 1
        again = data.draw(st.integers(0, read[topic] - 1))
        if topic == 0:
            other.apply(PART, {"u": events[again : read[0]]})
        else:
            for record in records[again : read[1]]:
                other.describe(record)
    assert other.get("u") == one.get("u")


def test_an_earlier_event_of_another_partition_is_not_taken_for_a_repetition(profiles):
    profiles.apply(PART, {"u": [viewed(7, "a")]})
    profiles.apply(Partition("shop.interactions", 1), {"u": [viewed(3, "b")]})
    profiles.apply(Partition("shop.interactions", 1), {"u": [viewed(3, "b")]})
    assert profiles.get("u").seen == ("a", "b")


def test_forgetting_one_user_leaves_the_others(profiles):
    profiles.apply(PART, {"u": [viewed(0, "a")], "v": [viewed(1, "b", "v")]})
    profiles.apply(PART, {"u": [forgot(2)]})
    assert profiles.get("u") is None
    assert profiles.get("v").seen == ("b",)


def test_a_description_is_replaced_whole_and_leaves_the_interactions(profiles):
    profiles.apply(PART, {"u": [viewed(0, "a")]})
    views = {"course-1": {"seconds": 340, "level": "Beginner"}}
    profiles.describe(said(0, features=("f", "g"), interests={"python": 3.0}, views=views))
    profile = profiles.get("u")
    assert (profile.features, profile.interests, profile.views) == (("f", "g"), {"python": 3.0}, views)
    assert profile.seen == ("a",)
    profiles.describe(said(1, features=("h",)))
    profile = profiles.get("u")
    assert (profile.features, profile.interests, profile.views) == (("h",), {}, {})
    profiles.apply(PART, {"u": [viewed(1, "b")]})
    assert profiles.get("u").features == ("h",)
    assert profiles.get("u").seen == ("a", "b")


def test_a_user_may_be_described_before_the_first_interaction(profiles):
    records = [User(user_id="new", features=("f",)), User(user_id="plain")]
    profiles.describe({user.user_id: Described(number, user) for number, user in enumerate(records)})
    assert profiles.get("new").features == ("f",)
    assert profiles.get("new").recent == ()
    assert profiles.get("plain") == Profile(user_id="plain", described=True, described_at=1)


@pytest.mark.parametrize("user", ["ü—用户🙂", "a:b:c", "' OR 1=1 --", "x" * 256, "%", "NULL"])
def test_any_valid_id_is_a_user_of_its_own(profiles, user):
    profiles.apply(PART, {user: [viewed(0, user, user)], "u": [viewed(1, "b")]})
    assert profiles.get(user).seen == (user,)
    assert profiles.get("u").seen == ("b",)
    assert profiles.get(user + "x") is None


def test_profiles_are_there_for_the_next_opener(profiles_port, profiles):
    profiles.apply(PART, {"u": [viewed(0, "a")]})
    assert profiles_port.open().get("u") == profiles.get("u")


def test_threads_with_a_partition_each_lose_nothing(profiles, at_once):
    def work(number: int) -> None:
        user = f"u{number}"
        for offset in range(40):
            profiles.apply(Partition("t", number), {user: [viewed(offset, f"i{offset}", user)]})

    assert at_once(*[lambda number=number: work(number) for number in range(4)]) == [None] * 4
    for number in range(4):
        assert profiles.get(f"u{number}").seen == tuple(f"i{offset}" for offset in range(40))


def test_a_batch_that_cannot_be_folded_in_changes_nothing(profiles):
    profiles.apply(PART, {"u": [viewed(0, "a")], "v": [viewed(1, "a", "v")]})
    with pytest.raises(AttributeError):
        profiles.apply(PART, {"u": [viewed(2, "b")], "v": [Applied(3, 0, None)]})  # type: ignore[arg-type]
    assert profiles.get("u").seen == ("a",)
    profiles.apply(PART, {"u": [viewed(2, "b")], "v": [viewed(3, "b", "v")]})
    assert profiles.get("u").seen == profiles.get("v").seen == ("a", "b")


def test_partitions_and_descriptions_at_once_of_one_user_lose_nothing(profiles_port, profiles, at_once):
    def act(partition: int) -> None:
        mine = profiles_port.open()
        for offset in range(25):
            mine.apply(Partition("t", partition), {"u": [viewed(offset, f"{partition}-{offset}")]})

    def describe() -> None:
        mine = profiles_port.open()
        for offset in range(25):
            mine.describe(said(offset, features=(f"f{offset}",)))

    assert at_once(lambda: act(0), lambda: act(1), describe) == [None] * 3
    profile = profiles.get("u")
    assert profile.offsets == {0: 24, 1: 24}
    assert profile.features == ("f24",)
    for partition in "01":
        mine = [item for item in profile.seen if item.startswith(partition)]
        assert mine == [f"{partition}-{offset}" for offset in range(25)]
    assert len(profile.recent) == 50


def test_two_writers_of_one_partition_at_once_fold_each_event_in_once(profiles_port, profiles, at_once):
    log = [viewed(offset, f"i{offset % 7}", "uvw"[offset % 3]) for offset in range(40)]

    def work(size: int) -> None:
        mine = profiles_port.open()
        for start in range(0, 40, size):
            mine.apply(PART, by_user(log[max(0, start - 3) : start + size]))

    assert at_once(lambda: work(4), lambda: work(5)) == [None] * 2
    once = profiles_port.elsewhere()
    once.apply(PART, by_user(log))
    for user in "uvw":
        assert profiles.get(user) == once.get(user)
