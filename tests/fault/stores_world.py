"""The API over a real MongoDB and a real Redis that a test may hurt, with clients that never stop asking."""

import json
import os
import random
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import urllib3
from harness import Child, Children, free_port, until
from pod import MODEL, SOURCE, Pod, clustered

from sluice.redis.connection import RedisConnection
from sluice.redis.routing import RedisRouting
from sluice.routing import Routing
from sluice_cli.backends import BackendUnavailable, Mongo, Redis, Toxiproxy

MODEL_FILE = """
apiVersion: sluice.dev/v1alpha1
kind: RecommenderModel
metadata: {name: home}
spec:
  algorithm: {type: GMF}
  source: {name: shop}
"""
ITEMS, USERS = 60, 8
STRATEGIES = {"personalized", "session", "similar", "popular"}
ASKING = ("recommendations", "popular", "similar", "session")


class Answer(NamedTuple):
    """What a client got; ``strategy`` where one is due."""

    kind: str
    status: int
    strategy: str
    items: int
    retry_after: str
    took_s: float
    detail: str


class Clients:
    """Threads that ask for everything in turn, and what they were answered."""

    def __init__(self, address: str, threads: int = 3) -> None:
        self._address, self._stopping = address, threading.Event()
        self.answers: list[Answer] = []
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def after(self, count: int = 150) -> list[Answer]:
        """Wait for so many more answers; return them."""
        begin = len(self.answers)
        until(lambda: len(self.answers) >= begin + count, f"{count} answers", 60.0)
        return self.answers[begin:]

    def _run(self, number: int) -> None:
        chance, http = random.Random(number), urllib3.PoolManager(retries=False, timeout=10.0)
        while not self._stopping.wait(0.002):
            user, item = f"u{chance.randrange(USERS)}", f"i{chance.randrange(ITEMS)}"
            session = {"items": [item], "n": 5}
            click = {"user_id": f"clicks-{number}", "item_id": item}
            for kind, method, path, document in (
                ("recommendations", "GET", f"/v1/recommendations/{user}?n=5", None),
                ("session", "POST", "/v1/recommendations", session),
                ("popular", "GET", "/v1/popular?n=5", None),
                ("similar", "GET", f"/v1/items/{item}/similar?n=5", None),
                ("item", "GET", f"/v1/items/{item}", None),
                ("write", "POST", "/v1/interactions", click),
                ("write", "PUT", f"/v1/items/written-{number}", {"title": "new"}),
            ):
                self.answers.append(ask(http, self._address, kind, method, path, document))


def ask(
    http: urllib3.PoolManager, address: str, kind: str, method: str, path: str, document: Any = None
) -> Answer:
    """Send one request and return what came back; status 0 for none."""
    began = time.monotonic()
    headers = {"Content-Type": "application/json"}
    body = None if document is None else json.dumps(document)
    try:
        response = http.request(method, address + path, body=body, headers=headers)
    except urllib3.exceptions.HTTPError as error:
        return Answer(kind, 0, "", 0, "", time.monotonic() - began, repr(error))
    took_s, told = time.monotonic() - began, response.json()
    return Answer(
        kind,
        response.status,
        told.get("strategy", ""),
        len(told.get("items", ())),
        response.headers.get("Retry-After", ""),
        took_s,
        told.get("detail", ""),
    )


class World:
    """Faiss pod, profiles process, API; Redis by a URL in a file, MongoDB behind a proxy."""

    def __init__(self, folder: Path, children: Children) -> None:
        self.folder, self._children, self.http = folder, children, urllib3.PoolManager(retries=False)
        self.redis, self.mongo = Redis(folder / "redis"), Mongo(folder / "mongo")
        self.toxiproxy, self.pod = Toxiproxy(folder / "toxiproxy"), Pod(folder, children)
        self.redis_file, self.model_file = folder / "redis-url", folder / "model.yaml"
        self.model_file.write_text(MODEL_FILE)
        self.address = ""

    def start(self) -> None:
        """Start everything; users and items are known when this returns."""
        for server in (self.redis, self.mongo, self.toxiproxy):
            _start(server)
        self.proxy = self.toxiproxy.proxy("mongo", self.mongo.address)
        self.tell_redis(None)
        self.publish()
        self.pod.cut("s1", clustered(ITEMS, 8))
        self.pod.want("s1")
        self.pod.start()
        self.pod.is_ready()
        self._service("profiles")
        self.address = self.start_api()
        self._fill()

    def tell_redis(self, password: str | None) -> None:
        """Write the URL that the services read."""
        login = f":{password}@" if password else ""
        self.redis_file.write_text(self.redis.url.replace("://", f"://{login}"))

    def publish(self) -> None:
        """Publish the routing as the operator does."""
        connection = RedisConnection(self.redis_file.read_text)
        route = Routing(epoch=1, rollout="r", stable="s1", candidate=None, weight=0, renewed=time.time())
        RedisRouting(connection, MODEL).publish(route)
        connection.close()

    def start_api(self) -> str:
        """Start an API; return its address once it is ready."""
        port = free_port()
        child = self._service("api", listen_port=port, local="true", faiss_stable_urls=self._faiss)
        address = f"http://127.0.0.1:{port}"
        until(lambda: self._is_ready(address) or not child.running, "the API is ready", 60.0)
        assert child.running, child.says()[-2_000:]
        return address

    @property
    def _faiss(self) -> str:
        return f"http://127.0.0.1:{self.pod.port}"

    def _service(self, name: str, **settings: object) -> Child:
        named: dict[str, object] = {"home": self.pod.home.folder, "model_file": self.model_file}
        named |= {"mongo_url": f"mongodb://{self.proxy.address}", "redis_url_file": self.redis_file}
        environment = {f"SLUICE_{key.upper()}": str(value) for key, value in (named | settings).items()}
        return self._children.start("sluice_recommender", name, environment=environment)

    def _is_ready(self, address: str) -> bool:
        return ask(self.http, address, "ready", "GET", "/readyz").status == 200

    def _fill(self) -> None:
        items = [{"item_id": f"i{number}", "title": f"Item {number}"} for number in range(ITEMS)]
        assert self.ask("POST", "/v1/items", items).status == 202
        clicks = [{"user_id": f"u{user}", "item_id": f"i{user}"} for user in range(USERS)]
        assert self.ask("POST", "/v1/interactions", clicks).status == 202
        for user in range(USERS):
            self.is_personal_again(f"u{user}")
        until(lambda: self.ask("GET", "/v1/items/i0").status == 200, "items are known")

    def ask(self, method: str, path: str, document: Any = None, address: str | None = None) -> Answer:
        """Ask the API once."""
        return ask(self.http, address or self.address, "one", method, path, document)

    def strategy(self, user: str) -> str:
        """Return how a user is answered now."""
        answer = self.ask("GET", f"/v1/recommendations/{user}?n=5")
        assert answer.status == 200, answer
        return answer.strategy

    def is_personal_again(self, user: str) -> None:
        """Wait until a user's answers are from the profile."""
        until(lambda: self.strategy(user) == "personalized", f"{user} is known", 30.0)

    def leaves_redis(self, *users: str) -> None:
        """Let the profiles of users expire."""
        connection = RedisConnection(self.redis_file.read_text)
        connection.run(
            lambda client: client.delete(*[f"sluice:profile:sluice.{SOURCE}:{user}" for user in users])
        )
        connection.close()

    def stop(self) -> None:
        """Stop the servers; the children are the fixture's."""
        for server in (self.redis, self.mongo, self.toxiproxy):
            server.resume()
            server.stop()


def _start(server: Any) -> None:
    try:
        server.start()
    except BackendUnavailable as error:
        if os.environ.get("SLUICE_REQUIRE_ALL"):
            pytest.fail(str(error))
        pytest.skip(str(error))


def judge(answers: list[Answer]) -> None:
    """Check what holds whatever is gone: never a 500, every recommendation with its strategy, writes taken."""
    for each in answers:
        if each.kind in ASKING:
            assert each.status == 200, each
            assert set(each.strategy.split("+")) <= STRATEGIES, each
        elif each.kind == "write":
            assert each.status == 202, each
        else:
            assert each.status in (200, 503), each
            assert each.status == 200 or each.retry_after, each
    slow = [each for each in answers if each.took_s > 0.5]
    assert len(slow) <= 0.05 * len(answers), slow
    assert max(each.took_s for each in answers) < 5.0
