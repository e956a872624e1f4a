"""Routing: who gets the candidate."""

import pytest

from sluice.errors import StorageUnavailable
from sluice.routing import BUCKETS, CANDIDATE_TTL_S, Remembered, Routing, bucket, track

USERS = [f"user-{number}" for number in range(4_000)]
NOW = 1_000.0


def routing(weight: int, rollout: str = "r1", candidate: str | None = "s2", renewed: float = NOW) -> Routing:
    return Routing(epoch=1, rollout=rollout, stable="s1", candidate=candidate, weight=weight, renewed=renewed)


def on_candidate(weight: int, rollout: str = "r1") -> set[str]:
    return {user for user in USERS if track(routing(weight, rollout), user, NOW) == "candidate"}


def test_raising_the_weight_only_moves_users_to_the_candidate():
    before: set[str] = set()
    for weight in range(101):
        after = on_candidate(weight)
        assert before <= after
        before = after
    assert on_candidate(0) == set()
    assert on_candidate(100) == set(USERS)


@pytest.mark.parametrize("weight", [1, 5, 20, 50, 80, 99])
def test_about_that_share_of_users_gets_the_candidate(weight):
    share, sd = weight / 100, (weight / 100 * (1 - weight / 100) / len(USERS)) ** 0.5
    assert abs(len(on_candidate(weight)) / len(USERS) - share) < 5 * sd


def test_another_rollout_deals_the_users_anew():
    one, two = on_candidate(50, "r1"), on_candidate(50, "r2")
    assert 0.4 < len(one & two) / len(one) < 0.6


def test_a_user_stays_where_it_is():
    assert on_candidate(30) == on_candidate(30)
    assert [bucket("r1", user) for user in ("a", "ü—🙂", "")] == [3941, 1737, 1102]


def test_buckets_are_in_range_and_spread():
    buckets = [bucket("r1", user) for user in USERS]
    assert min(buckets) >= 0
    assert max(buckets) < BUCKETS
    tenths = [sum(each * 10 // BUCKETS == tenth for each in buckets) for tenth in range(10)]
    assert all(300 < count < 500 for count in tenths)


def test_the_rollout_and_the_user_cannot_be_confused():
    assert bucket("a", "b") != bucket("ab", "")


def test_a_candidates_weight_ends_when_nobody_renews_it():
    alive = [
        age
        for age in (0.0, 60.0, CANDIDATE_TTL_S - 0.001)
        if track(routing(100), "u", NOW + age) == "candidate"
    ]
    assert len(alive) == 3
    for age in (CANDIDATE_TTL_S, CANDIDATE_TTL_S + 1, 1e9):
        assert track(routing(100), "u", NOW + age) == "stable"


def test_a_reader_whose_clock_is_behind_still_follows_the_routing():
    assert track(routing(100), "u", NOW - 90) == "candidate"


def test_without_a_candidate_everybody_is_on_stable():
    assert {track(routing(100, candidate=None), user, NOW) for user in USERS[:50]} == {"stable"}


class Vanishing:
    """A store that answers as long as it is there."""

    def __init__(self, said):
        self.said, self.there = said, True

    def read(self):
        if not self.there:
            raise StorageUnavailable("it is away")
        return self.said


def test_a_remembered_routing_is_said_while_its_store_is_away_and_follows_it_when_it_is_back():
    store = Vanishing("first")
    remembered = Remembered(store)
    assert remembered.read() == "first"
    store.there = False
    assert remembered.read() == "first"
    store.there, store.said = True, "second"
    assert remembered.read() == "second"


def test_nobody_remembers_what_was_never_said():
    store = Vanishing(None)
    store.there = False
    with pytest.raises(StorageUnavailable):
        Remembered(store).read()
    store.there = True
    assert Remembered(store).read() is None
