"""The public API over falcon.testing."""

import msgspec
import pytest
from falcon.testing import TestClient

from sluice.records import Item
from sluice.topics import topics_of
from sluice.web.problems import PROBLEM_JSON
from sluice_recommender.api.app import create_app
from sluice_recommender.api.models import Models
from sluice_recommender.api.outbox import Outbox
from sluice_recommender.api.recommender import Recommender, Source
from sluice_recommender.api.routes import RoutingTable
from sluice_recommender.api.shelf import Metadata, Popular
from sluice_recommender.api.tally import Tally

TOPICS = topics_of("shop")


@pytest.fixture
def log(fakes):
    return fakes.RecordingLog()


@pytest.fixture
def client(fakes, log):
    items = fakes.RememberedItems(known=Item(item_id="known", title="Known"))
    source = Source(
        fakes.RememberedProfiles(),
        Metadata(items),
        Popular(fakes.CountedPopularity({"p": 1.0})),
        Outbox(log, TOPICS.answers),
    )
    routes = RoutingTable(fakes.FixedRouting(fakes.routing()), clock=lambda: fakes.NOW)
    routes.poll()
    pods = fakes.AnsweringPods("x", lacks=("known", "unknown"))
    recommender = Recommender("default.home", source, routes, Tally("requests/t"), pods, pods)
    return TestClient(create_app(Models([recommender]), log, TOPICS, items, lambda: None))


def post(client, path, document):
    body = document if isinstance(document, bytes) else msgspec.json.encode(document)
    return client.simulate_post(path, body=body)


@pytest.mark.parametrize(
    ("path", "strategy"),
    [
        ("/v1/recommendations/u", "popular"),
        ("/v1/recommendations/u?n=100&model=default.home&exclude=a,b", "popular"),
        ("/v1/recommendations/u?model=home", "popular"),
        ("/v1/popular", "popular"),
        ("/api/v1/popular", "popular"),
        ("/v1/items/x/similar?n=1", "similar"),
        ("/api/v1/recommendations/x?n=1", "similar"),
        ("/v1/items/known/similar", "popular"),
    ],
)
def test_recommendations(client, path, strategy):
    answer = client.simulate_get(path)
    assert answer.status_code == 200, answer.text
    assert set(answer.json) == {"request_id", "model", "snapshot", "track", "strategy", "items"}
    assert answer.json["model"] == "default.home"
    assert answer.json["strategy"] == strategy


def test_a_session_is_recommended_to(client):
    answer = post(client, "/v1/recommendations", {"items": ["a", "b"], "n": 1})
    assert answer.json["strategy"] == "session"
    assert answer.json["items"] == [{"item_id": "x", "score": 1.0, "metadata": None}]


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/v1/popular?n=0", 400, "n must be"),
        ("/v1/popular?n=101", 400, "n must be"),
        ("/v1/popular?n=ten", 400, "n must be"),
        ("/v1/popular?n=" + "9" * 5000, 400, "n must be"),
        ("/v1/popular?model=other", 404, "default.home"),
        ("/v1/recommendations/" + "x" * 10_000, 400, "user_id"),
        ("/v1/recommendations/u?exclude=a,,b", 400, "exclude"),
        ("/v1/recommendations/u?filter=genre:Comedy", 400, "filter"),
        ("/v1/items/unknown/similar", 404, "item_id"),
        ("/v1/items/unknown", 404, "item_id"),
        ("/v1/nothing", 404, "openapi"),
    ],
)
def test_bad_questions_are_problems_that_name_the_field(client, path, status, words):
    answer = client.simulate_get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == PROBLEM_JSON
    assert set(answer.json) == {"type", "title", "status", "detail"}
    assert words in answer.json["detail"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "JSON"),
        (b"{", 400, "JSON"),
        (b"[]", 400, "object"),
        ({"n": 0}, 400, "$.n"),
        ({"n": 1.5}, 400, "$.n"),
        ({"items": ["a"] * 51}, 400, "$.items"),
        ({"items": [""]}, 400, "items"),
        ({"exclude": ["a"] * 1001}, 400, "$.exclude"),
        ({"user_id": 7}, 400, "$.user_id"),
        ({"user_id": "u", "filter": {"a": 1}}, 400, "filter"),
        ({"model": "other"}, 404, "default.home"),
        (b'{"user_id":' + b"[" * 100_000, 400, "user_id"),
        (b'{"user_id":"u","x":NaN}', 400, "JSON"),
        (b" " * (1 << 20) + b"{}", 413, "1048576"),
    ],
)
def test_bad_asks_are_problems_that_name_the_field(client, body, status, words):
    answer = post(client, "/v1/recommendations", body)
    assert answer.status_code == status, answer.text
    assert words in answer.json["detail"]


def test_wrong_methods_are_problems(client):
    answer = client.simulate_delete("/v1/interactions")
    assert answer.status_code == 405
    assert answer.headers["content-type"] == PROBLEM_JSON


def test_interactions_are_accepted_once_the_log_has_them(client, log):
    assert post(client, "/v1/interactions", {"user_id": "u", "item_id": "a"}).json == {"accepted": 1}
    answer = post(
        client, "/v1/interactions", [{"user_id": "v", "item_id": str(n), "ts": n} for n in range(3)]
    )
    assert (answer.status_code, answer.json) == (202, {"accepted": 3})
    assert [(topic, record.key) for topic, record in log.records] == [
        ("shop.interactions", b"u"),
        *[("shop.interactions", b"v")] * 3,
    ]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"not json", ["JSON"]),
        (b'[{"user_id":"u","item_id":"a","value":NaN}]', ["JSON"]),
        (b"[" * 100_000, ["JSON"]),
        ([], ["1 to 1000"]),
        ([{"user_id": "u", "item_id": "a"}] * 1001, ["1 to 1000"]),
        ([{"user_id": "u", "item_id": "a"}, {"user_id": "u"}], ["record 1", "item_id"]),
        ({"user_id": "u", "item_id": "x" * 10_000}, ["record 0", "item_id"]),
        ({"user_id": "u", "item_id": "a", "value": 0}, ["value"]),
        ({"user_id": "u", "item_id": "a", "ts": -1}, ["ts"]),
        ({"user_id": "u", "item_id": "a", "ts": "now"}, ["ts"]),
        ({"user_id": "u", "item_id": "a", "event": ""}, ["event"]),
        ({"user_id": {"$ne": 1}, "item_id": "a"}, ["user_id"]),
        ({"user_id": "u", "control": "forget"}, ["control"]),
        ("u:a", ["object"]),
        (7, ["object"]),
    ],
)
def test_one_bad_interaction_refuses_the_request(client, log, body, words):
    answer = post(client, "/v1/interactions", body)
    assert answer.status_code == 400
    assert all(word in answer.json["detail"] for word in words), answer.json
    assert log.records == []


def test_a_log_that_cannot_take_records_is_a_503(client, log):
    log.down = True
    answer = post(client, "/v1/interactions", {"user_id": "u", "item_id": "a"})
    assert answer.status_code == 503
    assert "try again" in answer.json["detail"]


def test_items_are_put_and_read(client, log):
    put = client.simulate_put("/v1/items/new", body=b'{"title":"New"}')
    assert (put.status_code, put.json) == (202, {"accepted": 1})
    assert post(client, "/v1/items", [{"item_id": "a"}, {"item_id": "b"}]).json == {"accepted": 2}
    assert [record.key for _, record in log.records] == [b"new", b"a", b"b"]
    assert {topic for topic, _ in log.records} == {"shop.items"}
    assert client.simulate_get("/v1/items/known").json == {"item_id": "known", "title": "Known"}


@pytest.mark.parametrize(
    "body",
    [
        {"item_id": "other"},
        {"title": 7},
        {"features": ["x" * 300]},
        {"features": ["a"] * 300},
        {"attributes": {"text": "x" * 70_000}},
        [],
    ],
)
def test_unusable_items_are_refused(client, log, body):
    answer = client.simulate_put("/v1/items/new", body=msgspec.json.encode(body))
    assert answer.status_code == 400
    assert log.records == []


def test_the_description_names_every_route_and_resolves(client):
    document = client.simulate_get("/openapi.json").json
    assert document["openapi"] == "3.1.0"
    assert {"/v1/recommendations/{user_id}", "/v1/interactions", "/v1/items/{item_id}"} <= set(
        document["paths"]
    )
    text = msgspec.json.encode(document).decode()
    references = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert references <= set(document["components"]["schemas"])


def test_probes(client):
    assert client.simulate_get("/healthz").status_code == 200
    assert client.simulate_get("/readyz").status_code == 200
    assert "sluice_request_seconds" in client.simulate_get("/metrics").text
