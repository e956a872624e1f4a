"""One machine's services around a small snapshot of items and users, for tests of the public API."""

import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
import urllib3
from harness import Children, until

from sluice.catalog import CatalogEntry
from sluice.embedded.home import Home
from sluice.embedded.models import EmbeddedCatalog, EmbeddedRouting
from sluice.encoder import MeanEncoder
from sluice.routing import Routing
from sluice.snapshot import manifest
from sluice.snapshot.content import UnitContent, VectorsContent
from sluice.snapshot.writer import write

MODEL, ITEMS, USERS = "default.home", 200, 20
MODEL_FILE = """
apiVersion: sluice.dev/v1alpha1
kind: RecommenderModel
metadata: {name: home}
spec:
  algorithm: {type: GMF}
  source: {name: shop}
"""


class Services:
    """A home with a snapshot ``s1`` (items ``i0``…, users ``u0``…), and the processes over it."""

    def __init__(self, folder):
        self.folder, self.home = folder, Home(folder / "home")
        self.children, self.running, self.addresses = Children(folder / "logs"), {}, {}
        self.http = urllib3.PoolManager(retries=False)
        self.model_file = folder / "model.yaml"
        self.model_file.write_text(MODEL_FILE)

    def start(self, name, module, *arguments, **settings):
        """Start a service; one that listens tells its address in its log."""
        listens = module != "sluice_recommender" or arguments == ("api",)
        environment = {"HOME": self.home.folder, "MODEL_FILE": self.model_file} | settings
        environment |= {"LISTEN_PORT": 0} if listens else {}
        child = self.children.start(
            module,
            *arguments,
            environment={f"SLUICE_{key.upper()}": str(value) for key, value in environment.items()},
        )
        self.running[name] = child
        if listens:
            self.addresses[name] = f"http://127.0.0.1:{until(lambda: _port(child), f'{name} listens')}"
            until(lambda: self.call("GET", "/readyz", to=name).status == 200, f"{name} is ready")

    def start_all(self, **api):
        """Start faiss, profiles and the API, in a fresh process each."""
        wanted = self.folder / "wanted"
        wanted.write_text(json.dumps(["s1"]))
        self.start("faiss", "sluice_faiss", wanted_file=wanted, cache=self.folder / "cache")
        self.start("profiles", "sluice_recommender", "profiles")
        self.start("api", "sluice_recommender", "api", faiss_stable_urls=self.addresses["faiss"], **api)

    def stop_all(self):
        """End all of them as a pod ends; return their exit codes."""
        self.http.clear()
        codes = [child.stop() for child in reversed(self.running.values())]  # a server waits for its clients
        self.running = {}
        return codes

    def call(self, method, path, document=None, to="api", **headers):
        """Send a request; ``document`` goes as JSON."""
        if document is not None:
            headers["Content-Type"] = "application/json"
        body = None if document is None else json.dumps(document)
        answer = self.http.request(method, self.addresses[to] + path, body=body, headers=headers)
        is_json = "json" in answer.headers.get("Content-Type", "")
        return SimpleNamespace(
            status=answer.status,
            headers=answer.headers,
            text=answer.data,
            json=answer.json() if is_json else None,
        )

    def cut(self, snapshot="s1"):
        """Cut a snapshot, enter it in the catalog, and route all requests to it."""
        random = np.random.default_rng(7)
        parts = {
            "items": VectorsContent(
                identifiers=[f"i{row}" for row in range(ITEMS)], matrix=_unit(random, ITEMS)
            ),
            "users": VectorsContent(
                identifiers=[f"u{row}" for row in range(USERS)], matrix=_unit(random, USERS), entity="users"
            ),
        }
        directory = self.home.snapshots(MODEL) / snapshot
        about = {"id": snapshot, "parent": None, "algorithm": "GMF", "spec_hash": "x", "created": 0.0}
        more = {"model": MODEL, "parameters": {}, "seed": 0, "code_version": "0", "offsets": {}}
        content = UnitContent(parts=parts, encoder=MeanEncoder(parts["items"].matrix.mean(axis=0), decay=0.9))
        made = write(directory, content, {**about, **more, "interactions": 0, "metrics": {}})
        digest = manifest.digest(directory / manifest.MANIFEST)
        catalog = EmbeddedCatalog(self.home.model(MODEL))
        entry = {
            "uri": f"file://{directory}",
            "digest": digest,
            "epoch": catalog.claim(),
            "bytes": made.bytes,
        }
        catalog.commit(CatalogEntry(**about, **entry, interactions=0, metrics={}))
        route = {"epoch": 1, "rollout": "r1", "stable": snapshot, "candidate": None, "weight": 0}
        EmbeddedRouting(self.home.model(MODEL)).publish(Routing(**route, renewed=time.time()))


def _unit(random, rows):
    matrix = random.normal(size=(rows, 8)).astype(np.float32)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def _port(child):
    for line in child.says().splitlines():
        if '"listening"' in line:
            return json.loads(line)["port"]
    assert child.running, child.says()
    return None


@pytest.fixture(scope="session")
def services_at():
    """Return what makes services in a folder, for modules whose tests share theirs."""
    return Services


@pytest.fixture
def services(tmp_path):
    """Return services of a fresh home; nothing runs yet."""
    services = Services(tmp_path)
    services.cut()
    try:
        yield services
    finally:
        services.children.kill_all()
