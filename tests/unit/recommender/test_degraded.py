"""The API whose stores are gone: reads of recommendations go on with less, all else says when to come back."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from falcon.testing import TestClient
from structlog.testing import capture_logs

from sluice.encoder import RecentInteraction
from sluice.errors import StorageUnavailable
from sluice.overlay import Overlay
from sluice.profile import Profile
from sluice.records import Answer, Item
from sluice.topics import topics_of
from sluice.web.problems import PROBLEM_JSON
from sluice_recommender.api.access import Access
from sluice_recommender.api.app import Data, create_app
from sluice_recommender.api.keys import Keys, Policy
from sluice_recommender.api.models import Models
from sluice_recommender.api.outbox import Outbox
from sluice_recommender.api.recommender import Recommender, Source
from sluice_recommender.api.routes import RoutingTable
from sluice_recommender.api.shelf import METADATA_S, POPULAR_S, Metadata, Popular
from sluice_recommender.api.tally import Tally, TallyWriter

TOPICS = topics_of("shop")


class Store:
    """A store that can be gone; what is asked of it goes to ``inner``."""

    def __init__(self, inner):
        self.inner, self.gone = inner, False

    def __getattr__(self, name):
        def ask(*arguments):
            if self.gone:
                raise StorageUnavailable("the store does not answer")
            return getattr(self.inner, name)(*arguments)

        return ask


class World:
    """The API over three stores; user ``ann`` has a history, item ``x`` a record."""

    def __init__(self, fakes, log=None):
        self.now, self.log = 0.0, log or fakes.RecordingLog()
        ann = Profile(user_id="ann", recent=(RecentInteraction("a", "view", 1.0, 0),), seen=("a",))
        items = Store(fakes.RememberedItems(x=Item(item_id="x", title="X"), lacked=Item(item_id="lacked")))
        profiles = Store(fakes.RememberedProfiles(ann=ann))
        popularity = Store(fakes.CountedPopularity({"p": 1.0}))
        self.stores, overlay = (items, profiles, popularity), Overlay()
        self.outbox = Outbox(self.log, TOPICS.answers)
        source = Source(
            profiles,
            Metadata(items, overlay, clock=lambda: self.now),
            Popular(popularity, overlay, clock=lambda: fakes.NOW, ticks=lambda: self.now),
            self.outbox,
            overlay,
        )
        routes = RoutingTable(fakes.FixedRouting(fakes.routing()), clock=lambda: fakes.NOW)
        routes.poll()
        pods = fakes.AnsweringPods("x", lacks=("lacked", "unknown"))
        recommender = Recommender("default.home", source, routes, Tally("requests/t"), pods, pods)
        access = Access(Policy(local=True), lambda: Keys(()))
        data = Data(self.log, TOPICS, items, profiles)
        self.client = TestClient(create_app(Models([recommender]), data, access, lambda: None, lambda: 1.7e9))

    def lose_the_stores(self):
        for store in self.stores:
            store.gone = True

    def lose_what_is_kept(self):
        """Let so much time pass that nothing kept of the stores is current."""
        self.now += METADATA_S + POPULAR_S


@pytest.fixture
def world(fakes):
    return World(fakes)


def test_a_known_user_gets_what_was_popular_when_last_known(world):
    before = world.client.simulate_get("/v1/recommendations/ann?n=2").json
    assert (before["strategy"], before["items"][0]["metadata"]["title"]) == ("personalized+popular", "X")
    world.lose_the_stores()
    world.lose_what_is_kept()
    after = world.client.simulate_get("/v1/recommendations/ann?n=2")
    assert (after.status_code, after.json["strategy"]) == (200, "popular")
    assert [each["item_id"] for each in after.json["items"]] == ["p"]


def test_a_session_is_answered_by_the_snapshot_with_the_metadata_known_last(world):
    ask = {"user_id": "ann", "items": ["b"], "n": 1}
    world.client.simulate_post("/v1/recommendations", json=ask)
    world.lose_the_stores()
    world.lose_what_is_kept()
    answer = world.client.simulate_post("/v1/recommendations", json=ask)
    assert (answer.status_code, answer.json["strategy"]) == (200, "session")
    assert answer.json["items"][0]["metadata"]["title"] == "X"


@pytest.mark.parametrize(
    ("path", "strategy"),
    [
        ("/v1/recommendations/ann", "popular"),
        ("/v1/popular", "popular"),
        ("/v1/popular?filter=g:1", "popular"),
        ("/v1/items/x/similar", "similar"),
        ("/v1/items/lacked/similar", "popular"),
        ("/v1/items/unknown/similar", "popular"),
        ("/api/v1/recommendations/lacked", "popular"),
    ],
)
def test_a_process_that_never_saw_its_stores_answers_all_the_same(world, path, strategy):
    world.lose_the_stores()
    answer = world.client.simulate_get(path)
    assert (answer.status_code, answer.json["strategy"]) == (200, strategy)


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/v1/items/x", {}),
        ("GET", "/v1/items?item_id=x", {}),
        ("GET", "/v1/users/ann", {}),
        ("PUT", "/v1/items/x", {"If-Match": "*"}),
        ("DELETE", "/v1/items/x", {"If-None-Match": '"4f0c"'}),
    ],
)
def test_what_only_a_store_can_tell_is_refused_with_the_time_to_try_again(world, method, path, headers):
    world.lose_the_stores()
    answer = world.client.simulate_request(method, path, headers=headers, json={"title": "new"})
    assert (answer.status_code, answer.json["type"]) == (503, "urn:sluice:storage-unavailable")
    assert answer.headers["content-type"] == PROBLEM_JSON
    assert answer.headers["retry-after"] == "1"
    assert world.log.records == []


@pytest.mark.parametrize(
    ("method", "path", "document"),
    [
        ("PUT", "/v1/items/x", {"title": "new"}),
        ("DELETE", "/v1/items/x", None),
        ("POST", "/v1/items", [{"item_id": "x"}]),
        ("PUT", "/v1/users/ann", {"features": ["f"]}),
        ("DELETE", "/v1/users/ann", None),
        ("POST", "/v1/interactions", {"user_id": "ann", "item_id": "x"}),
    ],
)
def test_writes_need_the_log_alone(world, method, path, document):
    world.lose_the_stores()
    answer = world.client.simulate_request(method, path, json=document)
    assert answer.status_code == 202
    assert world.log.records


class Routings:
    """A routing store that can be gone."""

    def __init__(self, routing):
        self.routing, self.gone = routing, False

    def read(self):
        if self.gone:
            raise StorageUnavailable("Redis does not answer; check that it runs")
        return self.routing


def test_without_news_the_last_routing_stays_and_the_lack_is_told_once(fakes):
    store = Routings(fakes.routing(stable="s7"))
    routes = RoutingTable(store, clock=lambda: fakes.NOW)
    with capture_logs() as lines:
        routes.poll()
        store.gone = True
        for _ in range(5):
            routes.poll()
        assert routes.deal("u").snapshot == "s7"
        store.gone, store.routing = False, None  # a flushed Redis
        routes.poll()
        routes.poll()
        assert routes.deal("u").snapshot == "s7"
    assert [line["event"] for line in lines] == [
        "routing cannot be read, the last one stays",
        "routing is read again",
    ]


def test_waiting_answers_and_evidence_are_told_once(fakes):
    log, evidence = fakes.RecordingLog(), fakes.RecordingEvidence()
    outbox = Outbox(log, TOPICS.answers)
    outbox.put(Answer(request_id="r", user_id="u", model="m", snapshot="s", items=(), ts=0))
    tally = Tally("requests/t")
    rolling = fakes.routing(candidate="s2", weight=5)
    writer = TallyWriter(tally, evidence, lambda: rolling, lambda: fakes.NOW)
    with capture_logs() as lines:
        for down in (True, True, True, False, False):
            log.down = evidence.down = down
            outbox.flush()
            writer.flush()
    assert [line["event"] for line in lines] == [
        "answers wait",
        "evidence waits",
        "answers go on",
        "evidence goes on",
    ]


def test_a_lack_of_profiles_is_counted_for_each_answer_and_told_once_a_minute(world):
    world.lose_the_stores()
    with capture_logs() as lines:
        for _ in range(5):
            world.client.simulate_get("/v1/recommendations/ann")
    told = [line for line in lines if line["event"] == "profile unavailable, answering without"]
    assert len(told) == 1


class HangingLog:
    """Takes what is appended once ``answers`` is set."""

    def __init__(self):
        self.answers, self.records = threading.Event(), []

    def append(self, topic, records):
        assert self.answers.wait(30.0)
        self.records.extend(records)


def timed(ask, *arguments, **more):
    """Return the answer, and how long it took since it was sent, waiting for a thread included."""
    started = time.monotonic()

    def run():
        return ask(*arguments, **more), time.monotonic() - started

    return run


def test_with_a_log_that_hangs_two_posts_leave_a_recommendation_fast_on_two_threads(fakes):
    log = HangingLog()
    client, click = World(fakes, log).client, {"user_id": "ann", "item_id": "x"}
    client.simulate_get("/v1/recommendations/ann")
    with ThreadPoolExecutor(2) as threads:
        for round_ in range(3):
            posts = [
                threads.submit(timed(client.simulate_post, "/v1/interactions", json=click)) for _ in range(2)
            ]
            asked = threads.submit(timed(client.simulate_get, "/v1/recommendations/ann"))
            answer, took = asked.result(10.0)
            assert (answer.status_code, took < 0.5) == (200, True), (round_, took)
            for post in posts:
                refused, took = post.result(10.0)
                assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
                assert took < 2.0
        log.answers.set()
        deadline = time.monotonic() + 10.0
        while client.simulate_post("/v1/interactions", json=click).status_code != 202:
            assert time.monotonic() < deadline
    assert len(log.records) == 3  # the two that were refused late, and the last


@pytest.mark.parametrize("given", ["of-the-shop", None])
def test_no_two_answers_have_the_same_id_though_requests_repeat_theirs(world, given):
    headers = {"X-Request-Id": given} if given else {}
    answers = [world.client.simulate_get("/v1/recommendations/ann", headers=headers) for _ in range(2)]
    answers.append(
        world.client.simulate_post("/v1/recommendations", json={"user_id": "ann"}, headers=headers)
    )
    told = [each.json["request_id"] for each in answers]
    assert len(set(told)) == 3
    for answer, name in zip(answers, told, strict=True):
        assert name.startswith(answer.headers["X-Request-Id"])
        assert given is None or answer.headers["X-Request-Id"] == given
    world.outbox.flush()
    assert [json.loads(record.value)["request_id"] for _, record in world.log.records] == told
