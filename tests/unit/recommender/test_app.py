"""The public API over falcon.testing."""

import hashlib
import json

import msgspec
import pytest
import structlog
from falcon.testing import TestClient, create_environ
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from sluice.encoder import RecentInteraction
from sluice.errors import StorageUnavailable
from sluice.overlay import Overlay
from sluice.profile import Profile
from sluice.records import Item
from sluice.topics import topics_of
from sluice.web.problems import PROBLEM_JSON
from sluice_recommender.api.access import Access
from sluice_recommender.api.app import Data, create_app
from sluice_recommender.api.keys import Key, Keys, Policy
from sluice_recommender.api.models import Models
from sluice_recommender.api.outbox import Outbox
from sluice_recommender.api.readiness import Readiness
from sluice_recommender.api.recommender import Recommender, Source
from sluice_recommender.api.routes import RoutingTable
from sluice_recommender.api.shelf import Metadata, Popular
from sluice_recommender.api.tally import Tally

TOPICS = topics_of("shop")
NOW_MS = 1_700_000_000_000


@pytest.fixture
def log(fakes):
    return fakes.RecordingLog()


@pytest.fixture
def build(fakes, log):
    """Return a client of an app with this policy and these keys."""

    def build(policy=None, keys=()):
        items = fakes.RememberedItems(known=Item(item_id="known", title="Known"))
        recent = (RecentInteraction("a", "cart", 2.0, NOW_MS),)
        profiles = fakes.RememberedProfiles(
            ann=Profile(user_id="ann", recent=recent, seen=("a",), interests={"python": 3.0})
        )
        overlay = Overlay()
        source = Source(
            profiles,
            Metadata(items, overlay),
            Popular(fakes.CountedPopularity({"p": 1.0}), overlay),
            Outbox(log, TOPICS.answers),
            overlay,
        )
        routes = RoutingTable(fakes.FixedRouting(fakes.routing()), clock=lambda: fakes.NOW)
        routes.poll()
        pods = fakes.AnsweringPods("x", lacks=("known", "unknown"))
        recommender = Recommender("default.home", source, routes, Tally("requests/t"), pods, pods)
        access = Access(policy or Policy(local=True), lambda: Keys(keys))
        data = Data(log, TOPICS, items, profiles)
        app = create_app(Models([recommender]), data, access, lambda: None, lambda: NOW_MS / 1e3)
        return TestClient(app)

    return build


@pytest.fixture
def client(build):
    return build()


def post(client, path, document, **more):
    body = document if isinstance(document, bytes) else msgspec.json.encode(document)
    return client.simulate_post(path, body=body, **more)


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
    ("field", "value"), [("PATH_INFO", "/v1/recommendations/\xff"), ("QUERY_STRING", "filter=com\xc3\xa9die")]
)
def test_an_address_that_is_not_encoded_utf8_is_refused(client, field, value):
    environment = {**create_environ("/v1/recommendations/u"), field: value}
    status = []
    [body] = client.app(environment, lambda line, _headers: status.append(line))
    assert status == ["400 Bad Request"]
    assert b"urn:sluice:bad-utf8" in body


def test_heads_have_no_body(client):
    answer = client.simulate_head("/v1/popular")
    assert (answer.status_code, answer.text) == (200, "")
    assert int(answer.headers["content-length"]) > 100


@pytest.mark.parametrize(
    ("path", "status", "reason", "words"),
    [
        ("/v1/popular?n=0", 400, "bad-parameter", "n must be"),
        ("/v1/popular?n=1001", 400, "bad-parameter", "n must be"),
        ("/v1/popular?n=ten", 400, "bad-parameter", "n must be"),
        ("/v1/popular?n=%D9%A1", 400, "bad-parameter", "n must be"),
        ("/v1/popular?n=1_0", 400, "bad-parameter", "n must be"),
        ("/v1/popular?n=", 400, "bad-parameter", "n must be"),
        ("/v1/popular?n=" + "9" * 5000, 400, "bad-parameter", "n must be"),
        ("/v1/popular?n=1&n=2", 400, "repeated-parameter", "n is given 2 times"),
        ("/v1/popular?modl=home", 400, "unknown-parameter", "'modl' is unknown; write model"),
        ("/v1/popular?user_id=u", 400, "unknown-parameter", "known are n, model, filter"),
        ("/v1/popular?model=other", 404, "unknown-model", "default.home"),
        ("/v1/popular?model=", 404, "unknown-model", "default.home"),
        ("/v1/popular?filter=", 400, "bad-parameter", "filter is empty"),
        ("/v1/recommendations/u?exclude=", 400, "bad-parameter", "exclude is empty"),
        ("/v1/popular?filter=a,,b", 400, "bad-filter", "filter"),
        ("/v1/recommendations/" + "x" * 10_000, 400, "bad-id", "user_id"),
        ("/v1/recommendations/", 400, "bad-id", "user_id is empty"),
        ("/v1/recommendations/u?exclude=a,,b", 400, "bad-id", "exclude"),
        ("/v1/recommendations/a%2Fb", 404, "not-found", "'/'"),
        ("/v1/recommendations/u?exclude=%FF", 400, "bad-utf8", "UTF-8"),
        ("/v1/items/unknown/similar", 404, "unknown-item", "item_id"),
        ("/v1/items/unknown", 404, "unknown-item", "item_id"),
        ("/v1/items/known?n=1", 400, "unknown-parameter", "known are none"),
        ("/v1/items", 400, "missing-parameter", "?item_id="),
        ("/v1/users/unknown", 404, "unknown-user", "user_id"),
        ("/v1/nothing", 404, "not-found", "openapi"),
    ],
)
def test_bad_questions_are_problems_that_name_the_field(client, path, status, reason, words):
    answer = client.simulate_get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM_JSON
    assert set(answer.json) == {"type", "title", "status", "detail", "request_id"}
    assert answer.json["request_id"] == answer.headers["x-request-id"]
    assert answer.json["type"] == f"urn:sluice:{reason}"
    assert words in answer.json["detail"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "empty"),
        (b" ", 400, "empty"),
        (b"{", 400, "JSON"),
        (b"[]", 400, "object"),
        (b'\xef\xbb\xbf{"n":1}', 400, "byte order mark"),
        (b'{"user_id":"\\ud800"}', 400, "JSON"),
        (b'{"user_id":"\xff"}', 400, "JSON"),
        (b'{"n":1,"n":2}', 400, "n is given twice"),
        (b'{"n":' + b"9" * 5000 + b"}", 400, "JSON"),
        (b'{"n":' + b"9" * 200 + b"}", 400, "n must be a whole number from 1 to 1000"),
        ({"m": 1}, 400, "'m' is unknown"),
        ({"itmes": ["a"]}, 400, "write items"),
        ({"n": 0}, 400, "n must be a whole number from 1 to 1000"),
        ({"n": 1.5}, 400, "n must be a whole number from 1 to 1000"),
        ({"n": None}, 400, "n must be a whole number from 1 to 1000"),
        ({"n": "1"}, 400, "n must be a whole number from 1 to 1000"),
        ({"items": ["a"] * 51}, 400, "items must be a list of at most 50 strings"),
        ({"items": [""]}, 400, "items"),
        ({"items": "a"}, 400, "items must be a list"),
        ({"exclude": ["a"] * 1001}, 400, "exclude must be a list of at most 1000 strings"),
        ({"exclude": ["a", 7]}, 400, "exclude[1] must be a string"),
        ({"user_id": 7}, 400, "user_id must be a string or null"),
        ({"user_id": {"$ne": 1}}, 400, "user_id must be a string or null"),
        ({"user_id": "u", "filter": {"a": 1}}, 400, "filter"),
        ({"user_id": "u", "filter": []}, 400, "filter"),
        ({"model": "other"}, 404, "default.home"),
        (b'{"user_id":' + b"[" * 500 + b"]" * 500 + b"}", 400, "nest at most"),
        (b'{"user_id":' + b"[" * 100_000, 400, "JSON"),
        (b'{"user_id":"u","n":NaN}', 400, "JSON"),
        (b" " * (1 << 20) + b"{}", 413, "1048576"),
    ],
)
def test_bad_asks_are_problems_that_name_the_field(client, body, status, words):
    answer = post(client, "/v1/recommendations", body)
    assert answer.status_code == status, answer.text
    assert words in answer.json["detail"]
    for inner in ("`", "$", "msgspec", "int,", "Expected"):
        assert inner not in answer.json["detail"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json"}, 200),
        ({"Content-Type": "application/json; charset=UTF-8"}, 200),
        ({"Content-Type": "application/merge-patch+json"}, 200),
        ({}, 200),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/json; charset=latin-1"}, 415),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
    ],
)
def test_bodies_are_json_and_nothing_else(client, headers, status):
    answer = client.simulate_post("/v1/recommendations", body=b"{}", headers=headers)
    assert answer.status_code == status, answer.text


def test_wrong_methods_are_problems_that_allow_the_right_ones(client):
    answer = client.simulate_delete("/v1/interactions")
    assert answer.status_code == 405
    assert answer.headers["content-type"] == PROBLEM_JSON
    assert "POST" in answer.headers["allow"]
    options = client.simulate_options("/v1/items/known")
    assert set(options.headers["allow"].split(", ")) >= {"GET", "HEAD", "PUT", "DELETE"}


@pytest.mark.parametrize(
    ("sent", "kept"), [("a-1", True), ("x" * 128, True), ("x" * 129, False), ("ä", False)]
)
def test_a_usable_request_id_is_taken_and_echoed(client, sent, kept):
    answer = client.simulate_get("/v1/popular", headers={"X-Request-Id": sent})
    assert answer.headers["x-request-id"] == answer.json["request_id"]
    assert (answer.json["request_id"] == sent) is kept
    assert answer.json["request_id"]


def test_interactions_are_accepted_once_the_log_has_them(client, log):
    assert post(client, "/v1/interactions", {"user_id": "u", "item_id": "a"}).json == {"accepted": 1}
    records = [{"user_id": "v", "item_id": str(n), "ts": NOW_MS - n} for n in range(3)]
    answer = post(client, "/v1/interactions", records)
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
        (b'[{"user_id":"u","item_id":"a","value":1e999}]', ["JSON"]),
        (b'[{"user_id":"u","item_id":"a","item_id":"b"}]', ["item_id is given twice"]),
        (b"[" * 100_000, ["JSON"]),
        ([], ["1 to 1000"]),
        ([{"user_id": "u", "item_id": "a"}] * 1001, ["1 to 1000"]),
        ([{"user_id": "u", "item_id": "a"}, {"user_id": "u"}], ["record 1", "item_id"]),
        ({"user_id": "u", "item": "a"}, ["record 0", "'item' is unknown; write item_id"]),
        ({"user_id": "u", "item_id": "x" * 10_000}, ["record 0", "item_id"]),
        ({"user_id": "u", "item_id": "a", "value": 0}, ["value"]),
        ({"user_id": "u", "item_id": "a", "value": "1"}, ["value must be a number"]),
        ({"user_id": "u", "item_id": "a", "ts": -1}, ["ts"]),
        ({"user_id": "u", "item_id": "a", "ts": "now"}, ["ts must be a whole number"]),
        ({"user_id": "u", "item_id": "a", "ts": NOW_MS // 1000}, ["ts", "looks like seconds"]),
        ({"user_id": "u", "item_id": "a", "ts": NOW_MS * 1000}, ["ts", "looks like microseconds"]),
        ({"user_id": "u", "item_id": "a", "ts": NOW_MS + 86_400_001}, ["ts", "24 hours ahead"]),
        ({"user_id": "u", "item_id": "a", "event": ""}, ["event"]),
        ({"user_id": {"$ne": 1}, "item_id": "a"}, ["user_id must be a string"]),
        ({"user_id": "u", "control": "delete"}, ["control"]),
        ({"user_id": "u", "control": "forget", "item_id": "a"}, ["'item_id' is unknown"]),
        ("u:a", ["object"]),
        (7, ["object"]),
    ],
)
def test_one_bad_interaction_refuses_the_request(client, log, body, words):
    answer = post(client, "/v1/interactions", body)
    assert answer.status_code == 400
    assert all(word in answer.json["detail"] for word in words), answer.json
    assert log.records == []


def test_a_whole_number_may_have_a_point(client, log):
    assert post(client, "/v1/recommendations", b'{"n":2.0}').status_code == 200
    assert post(client, "/v1/recommendations", b'{"n":1e300}').status_code == 400
    assert post(client, "/v1/interactions", b'{"user_id":"u","item_id":"a","ts":1.7e12}').status_code == 202
    assert json.loads(log.records[-1][1].value)["ts"] == NOW_MS


def test_a_time_a_day_ahead_is_taken(client):
    record = {"user_id": "u", "item_id": "a", "ts": NOW_MS + 86_400_000}
    assert post(client, "/v1/interactions", record).status_code == 202


def test_a_log_that_cannot_take_records_is_a_503(client, log):
    log.down = True
    answer = post(client, "/v1/interactions", {"user_id": "u", "item_id": "a"})
    assert answer.status_code == 503
    assert "try again" in answer.json["detail"]


def test_items_are_put_read_and_deleted(client, log):
    put = client.simulate_put("/v1/items/new", body=b'{"title":"New"}')
    assert (put.status_code, put.json) == (202, {"accepted": 1})
    assert post(client, "/v1/items", [{"item_id": "a/b"}, {"item_id": "b"}]).json == {"accepted": 2}
    assert client.simulate_delete("/v1/items/b").json == {"accepted": 1}
    assert post(client, "/v1/items", {"delete": ["a/b", "new"]}).json == {"accepted": 2}
    assert [(record.key, record.value is None) for _, record in log.records] == [
        (b"new", False), (b"a/b", False), (b"b", False), (b"b", True), (b"a/b", True), (b"new", True),
    ]  # fmt: skip
    assert {topic for topic, _ in log.records} == {"shop.items"}
    for path in ("/v1/items/known", "/v1/items?item_id=known"):
        assert client.simulate_get(path).json == {"item_id": "known", "title": "Known"}


@pytest.mark.parametrize(
    "body",
    [
        {"item_id": "other"},
        {"title": 7},
        {"titel": "x"},
        {"features": ["x" * 300]},
        {"features": ["a"] * 300},
        {"attributes": {"text": "x" * 70_000}},
        {"delete": ["a"]},
        [],
    ],
)
def test_unusable_items_are_refused(client, log, body):
    answer = client.simulate_put("/v1/items/new", body=msgspec.json.encode(body))
    assert answer.status_code == 400
    assert log.records == []


@pytest.mark.parametrize("path", ["/v1/items", "/v1/users"])
@pytest.mark.parametrize(
    "body", [{"delete": []}, {"delete": "a"}, {"delete": [1]}, {"delete": ["a"], "title": "b"}]
)
def test_unusable_deletions_are_refused(client, log, path, body):
    answer = post(client, path, body)
    assert answer.status_code == 400
    assert log.records == []


def test_an_etag_follows_the_content_and_guards_writes(client, log):
    etag = client.simulate_get("/v1/items/known").headers["etag"]
    assert (
        client.simulate_get("/v1/items/known", headers={"If-None-Match": f'"x", {etag}'}).status_code == 304
    )
    assert client.simulate_get("/v1/items/known", headers={"If-None-Match": '"x"'}).status_code == 200

    def put(item_id, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.simulate_put(f"/v1/items/{item_id}", body=b'{"title":"Known"}', headers=headers)

    assert put("known", If_Match=etag).headers["etag"] == etag  # the same content again
    assert put("known", If_Match="*").status_code == 202
    assert put("new", If_None_Match="*").status_code == 202
    taken = len(log.records)
    refused = put("known", If_Match='"other"')
    assert (refused.status_code, refused.json["type"]) == (412, "urn:sluice:changed")
    assert put("new", If_Match="*").status_code == 412
    assert put("known", If_None_Match="*").status_code == 412
    assert client.simulate_delete("/v1/items/known", headers={"If-Match": '"other"'}).status_code == 412
    assert len(log.records) == taken


def test_users_are_described_and_shown(client, log):
    assert client.simulate_put("/v1/users/bob", body=b'{"interests":{"python":3}}').json == {"accepted": 1}
    assert post(client, "/v1/users", [{"user_id": "a/b"}]).status_code == 202
    assert [(topic, record.key) for topic, record in log.records] == [
        ("shop.users", b"bob"),
        ("shop.users", b"a/b"),
    ]
    assert json.loads(log.records[0][1].value) == {"user_id": "bob", "interests": {"python": 3.0}}
    for path in ("/v1/users/ann", "/v1/users?user_id=ann"):
        assert client.simulate_get(path).json == {
            "user_id": "ann",
            "features": [],
            "interests": {"python": 3.0},
            "views": {},
            "recent": [{"item_id": "a", "event": "cart", "value": 2.0, "ts": NOW_MS}],
            "seen": ["a"],
        }


FORGOTTEN = [
    ("shop.users", b"ann", None),
    ("shop.interactions", b"ann", b'{"user_id":"ann","control":"forget"}'),
]


@pytest.mark.parametrize(
    "forget",
    [
        lambda client: client.simulate_delete("/v1/users/ann"),
        lambda client: post(client, "/v1/users", {"delete": ["ann"]}),
        lambda client: post(client, "/v1/interactions", {"user_id": "ann", "control": "forget"}),
    ],
)
def test_every_way_to_forget_a_user_is_the_same(client, log, forget):
    assert forget(client).json == {"accepted": 1}
    assert [(topic, record.key, record.value) for topic, record in log.records] == FORGOTTEN


ADMIN, READER = "sluice_admin", "sluice_reader"


def keys():
    def key(name, secret, *scopes):
        return Key(name, hashlib.sha256(secret.encode()).hexdigest(), scopes)

    return [key("boss", ADMIN, "admin"), key("reader", READER, "read")]


def test_admin_is_refused_until_a_key_has_it(build, log):
    answer = build(Policy()).simulate_delete("/v1/users/ann", headers={"Authorization": "Bearer x"})
    assert (answer.status_code, answer.json["type"]) == (403, "urn:sluice:no-admin-key")
    assert "sluice keys create" in answer.json["detail"]
    assert log.records == []


@pytest.mark.parametrize(
    ("secret", "method", "path", "status"),
    [
        (None, "GET", "/v1/popular", 401),
        ("wrong", "GET", "/v1/popular", 401),
        (READER, "GET", "/v1/popular", 200),
        (READER, "HEAD", "/v1/popular", 200),
        (ADMIN, "GET", "/v1/popular", 403),
        (None, "GET", "/v1/users/ann", 401),
        (READER, "GET", "/v1/users/ann", 403),
        (READER, "HEAD", "/v1/users/ann", 403),
        (ADMIN, "GET", "/v1/users/ann", 200),
        (READER, "DELETE", "/v1/items/known", 403),
        (ADMIN, "DELETE", "/v1/items/known", 202),
        (None, "GET", "/healthz", 200),
        (None, "GET", "/openapi.json", 200),
        (None, "OPTIONS", "/v1/popular", 200),
    ],
)
def test_scopes(build, secret, method, path, status):
    client = build(Policy(frozenset({"read"})), keys())
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    answer = client.simulate_request(method, path, headers=headers)
    assert answer.status_code == status, answer.text
    assert ("www-authenticate" in answer.headers) is (status == 401)
    if method != "HEAD" and status == 403:
        assert "scope" in answer.json["detail"]


def test_log_lines_name_request_and_key_but_no_secret(build):
    client = build(Policy(frozenset({"read"})), keys())
    headers = {"Authorization": f"Bearer {READER}", "X-Request-Id": "r-1"}
    with capture_logs(processors=[merge_contextvars]) as lines:
        client.simulate_get("/v1/popular", headers=headers)
        structlog.get_logger().warning("after")
    *during, after = lines
    assert during
    assert all((line["request_id"], line["key"]) == ("r-1", "reader") for line in during)
    assert not {"request_id", "key"} & set(after)
    assert READER not in str(lines)


def test_writing_is_open_but_forgetting_needs_admin(build, log):
    client = build(Policy(frozenset({"read"})), keys())
    assert post(client, "/v1/interactions", {"user_id": "u", "item_id": "a"}).status_code == 202
    forget = [{"user_id": "u", "item_id": "a"}, {"user_id": "ann", "control": "forget"}]
    assert post(client, "/v1/interactions", forget).status_code == 401
    assert len(log.records) == 1
    allowed = post(client, "/v1/interactions", forget, headers={"Authorization": f"Bearer {ADMIN}"})
    assert allowed.status_code == 202


def test_web_pages_of_other_sites_cannot_use_the_local_mode(build, log):
    answer = post(build(), "/v1/users", {"delete": ["ann"]}, headers={"Sec-Fetch-Site": "cross-site"})
    assert (answer.status_code, log.records) == (403, [])


def test_probes(client):
    assert client.simulate_get("/healthz").status_code == 200
    assert client.simulate_get("/readyz").status_code == 200
    assert "sluice_request_seconds" in client.simulate_get("/metrics").text


def test_ready_is_who_has_read_everything_once_and_stays_so_without_its_stores():
    down = {"the overlay", "the event log"}

    def probe(name):
        def ask():
            if name in down:
                raise StorageUnavailable("the disk is gone; check it")

        return ask

    ready = Readiness({name: probe(name) for name in ("the overlay", "the event log")})
    assert "the overlay does not answer: the disk is gone" in ready()
    down.discard("the overlay")
    assert "the event log" in ready()
    down.clear()
    assert ready() is None
    down.update({"the overlay", "the event log"})
    assert ready() is None
