import msgspec
import pytest
from falcon.testing import TestClient

from sluice.overlay import OverlayState
from sluice.web.problems import PROBLEM_JSON
from sluice_faiss.app import create_app
from sluice_faiss.holder import opened
from sluice_faiss.live import Live
from sluice_faiss.wanted import LoadedSnapshot, RefusedSnapshot, WorkerState

LIVE = OverlayState(position={"0": 4, "1": 3}, items=5, refused=6, lag=0, caught_up=True)


@pytest.fixture
def state():
    return [WorkerState(overlay=LIVE)]


@pytest.fixture
def live():
    return Live()


@pytest.fixture
def client(cut, tmp_path, state, live):
    units = {"s1": opened(tmp_path / "store" / "s1", cut(), live.bind)}
    return TestClient(create_app(lambda: units, lambda: state[0], lambda: 123, "shop"))


def search(client, **body):
    return client.simulate_post("/v1/search", body=msgspec.json.encode({"snapshot": "s1", **body}))


def ids(answer):
    return [each["item_id"] for each in answer.json["items"]]


def test_recent_interactions_lead_to_their_like(client):
    answer = search(client, recent=[{"item_id": "a"}], exclude=["a"])
    assert answer.status_code == 200
    assert answer.json["snapshot"] == "s1"
    assert ids(answer) == ["b", "c"]


def test_without_interactions_the_prior_answers(client):
    assert ids(search(client, k=1)) == ["c"]


def test_features_alone_find_nothing_with_an_encoder_that_reads_none(client):
    assert ids(search(client, features=["genre:Comedy"])) == []


def test_similar_items(client):
    assert ids(search(client, similar_to="a", k=2)) == ["b", "c"]
    assert ids(search(client, similar_to="a", k=2, exclude=["b"])) == ["c"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"snapshot": "s9"}, 409, "s9"),
        ({"similar_to": "z"}, 404, "similar_to"),
        ({"k": 0}, 400, "k must be"),
        ({"k": 1001}, 400, "k must be"),
        ({"recent": [{"item_id": "a"}] * 51}, 400, "recent must be"),
        ({"recent": [{}]}, 400, "item_id"),
        ({"exclude": ["a"] * 5001}, 400, "exclude"),
        ({"exclude": ["x" * 10_000]}, 400, "exclude"),
        ({"filter": []}, 400, "filter"),
        ({"filter": {"every": ["a"]}}, 400, "filter"),
        ({"similar_to_user": "u"}, 404, "no part of users"),
    ],
)
def test_what_cannot_be_answered_is_a_problem_naming_the_field(client, body, status, words):
    answer = search(client, **body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == PROBLEM_JSON
    assert answer.json["status"] == status
    assert words in answer.json["detail"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/search", b"", 400),
        ("POST", "/v1/search", b'{"snapshot":"s1","recent":[{"item_id":"a","value":NaN}]}', 400),
        ("POST", "/v1/search", b"[" * 100_000, 400),
        ("POST", "/v1/search", b'{"x":' * 100_000, 400),
        ("POST", "/v1/search", b" " * (1 << 20) + b"{}", 413),
        ("GET", "/v1/search", None, 405),
        ("GET", "/nothing", None, 404),
    ],
)
def test_bad_requests_are_problems(client, method, path, body, status):
    answer = client.simulate_request(method, path, body=body)
    assert answer.status_code == status
    assert set(answer.json) == {"type", "title", "status", "detail", "request_id"}


def test_snapshots_tell_the_pods_state(client, state):
    state[0] = WorkerState(
        wanted=("s1", "s2"),
        loaded=(LoadedSnapshot("s1", "d", 3, 10),),
        refused=(RefusedSnapshot("s2", "cut"),),
        overlay=LIVE,
    )
    assert client.simulate_get("/v1/snapshots").json == {
        "wanted": ["s1", "s2"],
        "wanted_at": 0.0,
        "loaded": [{"id": "s1", "digest": "d", "rows": 3, "bytes": 10}],
        "refused": [{"id": "s2", "reason": "cut"}],
        "headroom_bytes": 123,
        "source": "shop",
        "overlay": {"position": {"0": 4, "1": 3}, "items": 5, "refused": 6, "lag": 0, "caught_up": True},
    }


def test_ready_only_while_everything_wanted_serves(client, state):
    assert client.simulate_get("/readyz").status_code == 200
    state[0] = WorkerState(wanted=("s2",), overlay=LIVE)
    answer = client.simulate_get("/readyz")
    assert answer.status_code == 503
    assert "s2" in answer.json["detail"]
    assert client.simulate_get("/healthz").status_code == 200


def test_it_serves_while_it_loads_one_more(client, state):
    loaded = (LoadedSnapshot("s1", "d", 3, 10),)
    state[0] = WorkerState(wanted=("s1", "s2"), loaded=loaded, overlay=LIVE)
    assert client.simulate_get("/readyz").status_code == 503
    assert client.simulate_get("/servez").status_code == 200


def test_metrics_count_by_route(client):
    search(client)
    assert 'sluice_requests_total{route="/v1/search",status="200"}' in client.simulate_get("/metrics").text
