"""One model's answers, with pods and stores that behave as told."""

import msgspec
import pytest

from sluice.encoder import RecentInteraction
from sluice.errors import StorageUnavailable
from sluice.filters import parse
from sluice.overlay import Overlay
from sluice.profile import Profile
from sluice.records import Item
from sluice_recommender.api.asking import Ask
from sluice_recommender.api.outbox import Outbox
from sluice_recommender.api.pods import NotHeld, Pods, Resting, UnknownItem
from sluice_recommender.api.recommender import Recommender, Source, UnknownUser
from sluice_recommender.api.routes import RoutingTable
from sluice_recommender.api.shelf import Metadata, Popular
from sluice_recommender.api.tally import Tally

CLICKED = Profile(user_id="u", recent=(RecentInteraction("a", "cart", 2.0, 5),), seen=("a",))


class World:
    def __init__(self, fakes, *, stable=None, canary=None, profiles=None, popularity=None, **routing):
        self.log, self.tally = fakes.RecordingLog(), Tally("requests/test")
        self.routes = RoutingTable(fakes.FixedRouting(fakes.routing(**routing)), clock=lambda: fakes.NOW)
        self.routes.poll()
        self.overlay, self.ticks = Overlay(), 0.0
        self.outbox = Outbox(self.log, "shop.answers")
        self.stable = stable or fakes.AnsweringPods("x", "y")
        self.canary = canary or fakes.AnsweringPods("cx", "cy")
        source = Source(
            profiles if profiles is not None else fakes.RememberedProfiles(u=CLICKED),
            Metadata(
                fakes.RememberedItems(x=Item(item_id="x", title="The X", features=("g:1",))), self.overlay
            ),
            Popular(
                popularity or fakes.CountedPopularity({"p": 3.0, "a": 2.0}),
                self.overlay,
                clock=lambda: fakes.NOW,
                ticks=lambda: self.ticks,
            ),
            self.outbox,
            self.overlay,
        )
        self.recommender = Recommender(
            "default.home", source, self.routes, self.tally, self.stable, self.canary, clock=lambda: fakes.NOW
        )

    def ask(self, **fields):
        return self.recommender.recommend(Ask(**{"user_id": "u", "n": 2, **fields}), "r-1")

    def counted(self):
        rows = self.tally.take(self.routes.current, 0.0)
        return {row.snapshot: (row.requests.n, row.requests.errors) for row in rows if row.requests}

    def answers(self):
        self.outbox.flush()
        return [msgspec.json.decode(record.value) for _, record in self.log.records]


CANARY = {"candidate": "s2", "weight": 100}


def ids(answer):
    return [item.item_id for item in answer.items]


def test_a_profile_makes_a_personal_answer(fakes):
    world = World(fakes)
    answer = world.ask()
    assert (answer.snapshot, answer.track, answer.strategy) == ("s1", "stable", "personalized")
    assert ids(answer) == ["x", "y"]
    assert msgspec.json.decode(answer.items[0].metadata) == {"title": "The X", "features": ["g:1"]}
    assert answer.items[1].metadata is None
    assert msgspec.json.decode(world.stable.asked[0]) == {
        "snapshot": "s1",
        "recent": [{"item_id": "a", "event": "cart", "value": 2.0, "ts": 5}],
        "features": [],
        "exclude": ["a"],
        "filter": None,
        "k": 2,
    }


def test_too_few_are_filled_up_with_popular_items_unseen_by_the_user(fakes):
    answer = World(fakes).ask(n=4)
    assert ids(answer) == ["x", "y", "p"]
    assert answer.strategy == "personalized+popular"
    assert answer.items[2].score == pytest.approx(3.0)


def test_an_unknown_user_gets_what_is_popular(fakes):
    world = World(fakes)
    answer = world.ask(user_id="nobody")
    assert (answer.snapshot, answer.strategy, ids(answer)) == (None, "popular", ["p", "a"])
    assert world.stable.asked == []
    assert world.answers() == []


@pytest.mark.parametrize("broken", ["stable", "profiles", "routing"])
def test_a_missing_dependency_ends_in_popular(fakes, broken):
    changes = {
        "stable": {"stable": fakes.FailingPods()},
        "profiles": {"profiles": fakes.UnavailableProfiles()},
        "routing": {},
    }[broken]
    world = World(fakes, **changes)
    if broken == "routing":
        world.routes.current = None
    answer = world.ask()
    assert (answer.snapshot, answer.strategy) == (None, "popular")
    assert "p" in ids(answer)


def test_with_nothing_at_all_the_answer_is_empty(fakes):
    world = World(fakes, stable=fakes.FailingPods(), popularity=fakes.UnavailablePopularity())
    assert world.ask().items == []


def test_a_candidates_user_is_answered_by_it(fakes):
    world = World(fakes, **CANARY)
    answer = world.ask()
    assert (answer.snapshot, answer.track, ids(answer)) == ("s2", "candidate", ["cx", "cy"])
    assert world.counted() == {"s2": (1, 0)}
    assert world.answers()[0]["snapshot"] == "s2"


def test_where_the_candidate_fails_stable_answers_and_the_failure_counts_against_it(fakes):
    world = World(fakes, canary=fakes.FailingPods(), **CANARY)
    answer = world.ask()
    assert (answer.snapshot, answer.track, ids(answer)) == ("s1", "stable", ["x", "y"])
    assert world.counted() == {"s2": (1, 1)}
    assert world.answers()[0]["snapshot"] == "s1", "credit goes to the snapshot that really answered"


class RaisingPods:
    def __init__(self, error):
        self.error = error

    def search(self, body):
        raise self.error


@pytest.mark.parametrize(
    "canary",
    [
        RaisingPods(Resting("no pod can be asked now")),
        RaisingPods(NotHeld("a pod answered 409")),
        Pods([], 1),
    ],
    ids=["all rest", "none holds it", "none is known"],
)
def test_a_request_that_says_nothing_of_the_candidate_is_not_its_evidence(fakes, canary):
    world = World(fakes, canary=canary, **CANARY)
    answer = world.ask()
    assert (answer.snapshot, answer.track, ids(answer)) == ("s1", "stable", ["x", "y"])
    assert world.counted() == {}


class HoldingPods:
    """Finds items of the snapshots it holds, which each one names; lacks all others."""

    def __init__(self, *held):
        self.held = set(held)

    def search(self, body):
        snapshot = msgspec.json.decode(body)["snapshot"]
        if snapshot not in self.held:
            raise NotHeld("a pod answered 409")
        return [(f"of-{snapshot}", 1.0)]


@pytest.mark.parametrize("canary", [{}, {"candidate": "s9", "weight": 100}], ids=["stable", "candidate"])
def test_what_answered_last_goes_on_while_no_pod_holds_what_is_stable_now(fakes, canary):
    pods = HoldingPods("s1")
    world = World(fakes, stable=pods, canary=HoldingPods())
    assert world.ask(n=1).snapshot == "s1"
    world.routes.current = fakes.routing(epoch=2, stable="s2", **canary)
    answer = world.ask(n=1)
    assert (answer.snapshot, answer.strategy, ids(answer)) == ("s1", "personalized", ["of-s1"])
    assert world.counted() == {}, "it says nothing of s2"
    pods.held = {"s2"}
    assert world.ask(n=1).snapshot == "s2"
    pods.held = {"s1"}
    assert world.ask(n=1).strategy == "popular", "only what answered last is asked"


def test_a_pod_that_misunderstands_a_query_fails_no_request(fakes):
    class MisunderstandingPods:
        def search(self, body):
            raise UnknownItem("urn:sluice:unknown-item")

    world = World(fakes, canary=MisunderstandingPods(), **CANARY)
    assert ids(world.ask()) == ["x", "y"]
    assert world.counted() == {"s2": (1, 1)}
    assert World(fakes, stable=MisunderstandingPods()).ask().strategy == "popular"


def test_a_stable_failure_during_a_rollout_is_stables_error(fakes):
    world = World(fakes, stable=fakes.FailingPods(), candidate="s2", weight=0)
    world.ask()
    assert world.counted() == {"s1": (1, 1)}


def test_without_candidate_nothing_is_counted(fakes):
    world = World(fakes)
    world.ask()
    assert world.counted() == {}


def test_popular_answers_are_no_snapshots_requests(fakes):
    world = World(fakes, **CANARY)
    world.ask(user_id="nobody")
    assert world.counted() == {}


def test_only_the_snapshots_own_items_are_recorded(fakes):
    world = World(fakes)
    answer = world.ask(n=4)
    assert world.answers() == [
        {
            "request_id": answer.request_id,
            "user_id": "u",
            "model": "default.home",
            "snapshot": "s1",
            "items": ["x", "y"],
            "ts": int(fakes.NOW * 1e3),
            "track": "stable",
            "experiment": "",
        }
    ]


def test_sessions_are_answered_and_not_recorded(fakes):
    world = World(fakes)
    answer = world.ask(user_id=None, items=["a"])
    assert answer.strategy == "session"
    assert world.answers() == []


def test_features_that_no_encoder_reads_end_in_popular(fakes):
    answer = World(fakes, stable=fakes.AnsweringPods()).ask(user_id=None, features=["g:1"])
    assert (answer.snapshot, answer.strategy) == (None, "popular")


def test_the_request_keeps_its_id(fakes):
    world = World(fakes)
    assert world.ask().request_id == "r-1"
    assert world.recommender.popular(1, "r-2").request_id == "r-2"
    assert world.recommender.similar("a", 1, "r-3").request_id == "r-3"


def test_a_filter_goes_to_the_pod_and_holds_for_what_fills_up(fakes):
    world = World(fakes, popularity=fakes.CountedPopularity({"p": 3.0, "q": 2.0, "r": 1.0}))
    fakes.put(world.overlay, *(Item(item_id=name, features=("g:1",)) for name in "xqr"))
    answer = world.ask(n=4, filter="g:1")
    assert msgspec.json.decode(world.stable.asked[0])["filter"] == {"all": ["g:1"]}
    assert ids(answer) == ["x", "q", "r"], "y and p lack the word"
    assert ids(world.recommender.popular(9, "r", parse("g:1"))) == ["q", "r", "x"]
    assert ids(world.recommender.similar("a", 9, "r", parse({"none": ["g:1"]}))) == ["y", "p"]


def test_what_is_hidden_is_in_no_answer(fakes):
    world = World(fakes, popularity=fakes.CountedPopularity({"p": 3.0, "y": 2.0}))
    world.ask(n=4)  # everything there is to keep is kept
    fakes.put(world.overlay, Item(item_id="x", available=False), "p")
    assert ids(world.ask(n=4)) == ["y"]
    assert ids(world.ask(user_id=None, items=["a"], n=4)) == ["y"]
    assert ids(world.recommender.similar("a", 4, "r")) == ["y"]
    assert ids(world.recommender.popular(4, "r")) == ["y"]
    assert world.answers()[-1]["items"] == ["y"], "only what was given can be credited"


def test_a_thousand_items_can_be_asked_for(fakes):
    popularity = fakes.CountedPopularity({f"p{number:04}": 2.0 for number in range(5_000)})
    world = World(fakes, popularity=popularity)
    exclude = [f"p{number:04}" for number in range(1_000)]
    answer = world.ask(n=1_000, exclude=exclude)
    assert ids(answer)[:2] == ["x", "y"]
    assert ids(answer)[2:] == [f"p{number:04}" for number in range(1_000, 1_998)]
    assert msgspec.json.decode(world.stable.asked[0])["k"] == 1_000


def test_users_like_one(fakes):
    answer = World(fakes, stable=fakes.AnsweringPods("ann", "bob")).recommender.similar_users("u", 1, "r")
    assert (answer.snapshot, answer.strategy) == ("s1", "similar")
    assert [user.user_id for user in answer.users] == ["ann"]


@pytest.mark.parametrize(
    ("told", "words"),
    [("urn:sluice:unknown-user", "user_id"), ("urn:sluice:no-users", "tell nothing of users")],
)
def test_users_like_one_that_the_snapshot_lacks(fakes, told, words):
    class LackingPods:
        def search(self, body):
            raise UnknownItem(told)

    with pytest.raises(UnknownUser, match=words):
        World(fakes, stable=LackingPods()).recommender.similar_users("u", 1, "r")


def test_without_any_pod_nobody_tells_of_users(fakes):
    with pytest.raises(StorageUnavailable, match="no snapshot"):
        World(fakes, stable=fakes.FailingPods()).recommender.similar_users("u", 1, "r")
