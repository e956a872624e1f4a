"""What changes in the catalogue acts without a new snapshot: through API, pod and log."""

import threading
import time

import numpy as np
import pytest
import urllib3
from harness import until

from sluice.catalog import CatalogEntry
from sluice.embedded.models import EmbeddedCatalog, EmbeddedRouting
from sluice.encoder import MeanEncoder
from sluice.routing import Routing
from sluice.snapshot import manifest
from sluice.snapshot.content import UnitContent, VectorsContent
from sluice.snapshot.writer import write
from sluice.topics import topics_of

MODEL, WIDTH = "default.home", 16
ACTS_S = 10.0
KINDS = {"Flat": 2_000, "IVFFlat": 60_000}


def vectors(rows):
    """Return vectors in clusters, such that an index pays where there are many."""
    random = np.random.default_rng(3)
    centres = random.normal(size=(200, WIDTH))
    matrix = centres[random.integers(0, 200, rows)] + 0.25 * random.normal(size=(rows, WIDTH))
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


def cut(services, kind):
    """Cut a snapshot ``live`` whose index is of ``kind``, want it, and route everybody to it."""
    matrix, directory = vectors(KINDS[kind]), services.home.snapshots(MODEL) / "live"
    ids = [f"i{row}" for row in range(len(matrix))]
    items = VectorsContent(identifiers=ids, matrix=matrix)
    users = VectorsContent(identifiers=[f"u{row}" for row in range(20)], matrix=matrix[:20], entity="users")
    content = UnitContent(
        parts={"items": items, "users": users}, encoder=MeanEncoder(matrix.mean(axis=0), decay=0.9)
    )
    about = {"id": "live", "parent": None, "algorithm": "GMF", "spec_hash": "x", "created": 0.0}
    more = {"model": MODEL, "parameters": {}, "seed": 0, "code_version": "0", "offsets": {}}
    made = write(directory, content, {**about, **more, "interactions": 0, "metrics": {}})
    assert made.parts["items"].index == kind
    catalog = EmbeddedCatalog(services.home.model(MODEL))
    digest = manifest.digest(directory / manifest.MANIFEST)
    entry = {"uri": directory.as_uri(), "digest": digest, "epoch": catalog.claim(), "bytes": made.bytes}
    catalog.commit(CatalogEntry(**about, **entry, interactions=0, metrics={}))
    route = {"epoch": 2, "rollout": "r1", "stable": "live", "candidate": None, "weight": 0}
    EmbeddedRouting(services.home.model(MODEL)).publish(Routing(**route, renewed=time.time()))
    (services.folder / "wanted").write_text("live")
    return matrix


def start_faiss(services):
    services.start(
        "faiss",
        "sluice_faiss",
        wanted_file=services.folder / "wanted",
        cache=services.folder / "cache",
        workers=2,
    )


@pytest.fixture(scope="module", params=KINDS)
def running(services_at, tmp_path_factory, request):
    """Start everything over a snapshot of each kind; return the services and the snapshot's vectors."""
    services = services_at(tmp_path_factory.mktemp("overlay"))
    try:
        matrix = cut(services, request.param)
        start_faiss(services)
        services.start("profiles", "sluice_recommender", "profiles")
        urls = services.addresses["faiss"]
        services.start("api", "sluice_recommender", "api", faiss_stable_urls=urls, local=True)
        yield services, matrix
        assert services.stop_all() == [0, 0, 0]
    finally:
        services.children.kill_all()


@pytest.fixture
def services(running):
    return running[0]


@pytest.fixture
def matrix(running):
    return running[1]


class Client:
    """Asks in each way there is."""

    def __init__(self, services):
        self.call = services.call
        clicks = [{"user_id": "ann", "item_id": item} for item in ("i1", "i1", "i2", "i3")]
        clicks += [{"user_id": "bob", "item_id": f"i{row}"} for row in range(10, 20)]
        assert self.call("POST", "/v1/interactions", clicks).status == 202
        until(lambda: self.answer("personalized")["strategy"].startswith("personalized"), "ann is known")
        until(lambda: len(self.ids("popular", 100)) > 10, "what is popular is known")

    def answer(self, way, n=10, **more):
        """Return the answer of one strategy."""
        if way in ("personalized", "session"):
            who = {"user_id": "ann"} if way == "personalized" else {"items": ["i1", "i2"]}
            found = self.call("POST", "/v1/recommendations", {**who, "n": n, **more})
        else:
            path = "/v1/items/i1/similar" if way == "similar" else "/v1/popular"
            words = f"&filter={more['filter']}" if "filter" in more else ""
            found = self.call("GET", f"{path}?n={n}{words}")
        assert found.status == 200, found.text
        return found.json

    def ids(self, way, n=10, **more):
        return [each["item_id"] for each in self.answer(way, n, **more)["items"]]

    def put(self, item_id, **item):
        assert self.call("PUT", f"/v1/items/{item_id}", item).status == 202


WAYS = ("personalized", "session", "similar", "popular")


def acts(holds, what):
    """Poll until it holds; on a busy machine a search may be late, and popular items stand in for a moment."""
    until(holds, what, timeout_s=ACTS_S, poll_s=0.005)


class Asking(threading.Thread):
    """Goes on asking; keeps what was no answer, and counts those that popular items did not stand in for."""

    def __init__(self, services):
        super().__init__(daemon=True)
        self.url, self.http = services.addresses["api"], urllib3.PoolManager()
        self.stopping, self.bad, self.asked, self.personal = threading.Event(), [], 0, 0

    def run(self):
        while not self.stopping.is_set():
            answer = self.http.request("GET", f"{self.url}/v1/recommendations/ann")
            self.asked += 1
            self.personal += answer.json().get("strategy", "").startswith("personalized")
            if len(answer.json().get("items", ())) != 10:
                self.bad.append(answer.data)

    def stop(self):
        self.stopping.set()
        self.join(10)
        self.http.clear()
        return self.bad


def change(services, client, way):
    """Hide, show, delete and restore what an answer begins with."""
    first, second = client.ids(way)[:2]
    client.put(first, available=False)
    acts(lambda: first not in client.ids(way), f"{way}: {first} is unavailable")
    acts(
        lambda: all(first not in client.ids(other) for other in WAYS), f"{first} is in no other answer either"
    )
    client.put(first, title="back")
    acts(lambda: client.ids(way)[0] == first, f"{way}: {first} is available again")
    acts(lambda: client.answer(way)["items"][0]["metadata"] == {"title": "back", "features": []}, "its title")
    assert services.call("DELETE", f"/v1/items/{second}").status == 202
    acts(lambda: second not in client.ids(way), f"{way}: {second} is deleted")
    client.put(second)
    acts(lambda: second in client.ids(way), f"{way}: {second} is there again")


def test_changes_of_the_catalogue_act_while_searches_go_on(services, matrix):
    client = Client(services)
    asking = Asking(services)
    asking.start()
    try:
        for way in WAYS:
            change(services, client, way)
    finally:
        bad = asking.stop()
    assert bad == []
    assert asking.personal > 0.9 * asking.asked > 10


def test_filters_are_exact_and_follow_attributes(services, matrix):
    client = Client(services)
    marked = [f"i{row}" for row in range(5, len(matrix), len(matrix) // 40)]
    items = [{"item_id": item, "features": ["genre:Noir"], "attributes": {"stock": 3}} for item in marked]
    assert services.call("POST", "/v1/items", items).status == 202
    acts(lambda: set(client.ids("session", 1_000, filter="genre:Noir")) == set(marked), "all that match")
    query = (matrix[2] + 0.9 * matrix[1]) / 1.9
    rows = np.array([int(item[1:]) for item in marked])
    best = [f"i{row}" for row in rows[np.argsort(-(matrix[rows] @ query), kind="stable")]]
    acts(
        lambda: client.ids("session", 10, filter="genre:Noir") == best[:10], "the best ones, by every worker"
    )
    both = {"all": ["stock:3"], "none": ["genre:Drama"]}
    acts(lambda: client.ids("session", 10, filter=both) == best[:10], "the best ones by another filter")
    acts(lambda: set(client.ids("popular", 1_000, filter="genre:Noir")) == set(marked), "all popular ones")
    assert client.ids("popular", 5, filter="genre:Noir,stock:4") == []
    acts(
        lambda: set(client.ids("similar", 1_000, filter="genre:Noir")) == set(marked) - {"i1"}, "all similar"
    )

    client.put(best[0], features=["genre:Drama"], attributes={"stock": 4})
    acts(lambda: client.ids("session", filter="genre:Noir") == best[1:11], "the changed one left")
    acts(lambda: client.ids("popular", filter="stock:4") == [best[0]], "the changed one is found by its word")
    assert len(client.ids("session", 10, filter={"none": ["genre:Noir"]})) == 10

    acts(lambda: client.answer("session", 1_000)["strategy"] == "session", "there are so many")
    assert len(set(client.ids("session", 1_000))) == 1_000


def test_forgotten_users_are_soon_nobodys_like(services, matrix):
    def users():
        answer = services.call("GET", "/v1/users/u1/similar?n=1000")
        assert answer.status == 200, answer.text
        return {each["user_id"] for each in answer.json["users"]}

    assert users() == {f"u{row}" for row in range(20)} - {"u1"}
    assert services.call("DELETE", "/v1/users/u3").status == 202
    acts(lambda: "u3" not in users(), "u3 is forgotten")
    assert services.call("GET", "/v1/users/u3/similar").status == 404
    assert services.call("PUT", "/v1/users/u3", {"features": ["age:3"]}).status == 202
    acts(lambda: "u3" in users(), "u3 is known again")
    assert services.call("GET", "/v1/users/nobody/similar").status == 404


def overlay(services):
    return services.call("GET", "/v1/snapshots", to="faiss").json["overlay"]


def test_a_pod_comes_back_with_the_same_overlay(services, matrix):
    client = Client(services)
    hidden, deleted, marked = client.ids("session")[:3]
    client.put(hidden, available=False)
    client.put(marked, attributes={"hit": True})
    assert services.call("DELETE", f"/v1/items/{deleted}").status == 202
    assert services.call("DELETE", "/v1/users/u3").status == 202
    log, items = services.home.log("shop"), topics_of("shop").items
    ends = log.end_offsets(items)
    known = {record.key for record in log.read(dict.fromkeys(ends, 0), 10_000, 0.0)}
    position = {str(each.number): end for each, end in ends.items()}
    told = {"position": position, "items": len(known), "lag": 0}
    acts(lambda: overlay(services).items() >= told.items(), "the whole pod has read them")

    services.running["faiss"].kill()
    start_faiss(services)  # ready means: everything that was in the log is known
    assert overlay(services).items() >= told.items()
    body = {"snapshot": "live", "recent": [{"item_id": "i2"}, {"item_id": "i1"}], "k": 1_000}
    found = services.call("POST", "/v1/search", body, to="faiss").json["items"]
    assert not {hidden, deleted} & {each["item_id"] for each in found}
    only = services.call("POST", "/v1/search", {**body, "filter": "hit:true"}, to="faiss").json["items"]
    assert [each["item_id"] for each in only] == [marked]
    alike = services.call("POST", "/v1/search", {"snapshot": "live", "similar_to_user": "u1"}, to="faiss")
    assert "u3" not in {each["item_id"] for each in alike.json["items"]}
