"""What the operator's contract tests share: a real API server, and a namespace with a model, pods and snapshots.

No kubelet runs there: pods are objects, each answered for by a small HTTP server that holds what its annotation says.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import harness
import msgspec
import numpy as np
import yaml
from kubernetes import config
from kubernetes.client import Configuration

from sluice.backing import Backing
from sluice.encoder import MeanEncoder
from sluice.errors import Conflict, StorageUnavailable
from sluice.model import ModelSpec, spec_hash
from sluice.snapshot import writer
from sluice.snapshot.content import UnitContent, VectorsContent
from sluice.snapshot.entry import entry_of
from sluice.snapshot.manifest import Manifest
from sluice_operator.kubernetes.api import Api
from sluice_operator.kubernetes.pods import Reporters
from sluice_operator.kubernetes.reconciling import Reconciler
from sluice_operator.rollout.state import RolloutState
from sluice_operator.settings import OperatorSettings

ROOT = Path(__file__).parents[2]
CRDS = sorted((ROOT / "manifests" / "crds").glob("*.yaml"))
CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
until = partial(harness.until, timeout_s=30.0)
SPEC = {"algorithm": {"type": "GMF"}, "source": {"name": "shop"}}
FALLING = {"rollout": {"steps": [{"setWeight": 50}, {"setWeight": 5}]}}
"""A spec that the API server takes and lint does not."""
ROLE = [
    {"apiGroups": ["sluice.dev"], "resources": ["recommendermodels"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["sluice.dev"], "resources": ["recommendermodels/status"], "verbs": ["update"]},
    {"apiGroups": ["sluice.dev"], "resources": ["indexsnapshots"], "verbs": ["list", "create", "delete"]},
    {"apiGroups": ["sluice.dev"], "resources": ["indexsnapshots/status"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "update"]},
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "patch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
    {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get", "patch"]},
]
"""What the operator may do in its namespace, as ADR 0016 lists it, and nothing in any other."""


def api_of(kubeconfig: Path) -> Api:
    reached = Configuration()
    config.load_kube_config(str(kubeconfig), client_configuration=reached)
    return Api(reached)


def install_crds(api: Api) -> None:
    for file in CRDS:
        api.create(CRD_PATH, yaml.safe_load(file.read_text()))
    for file in CRDS:
        name = yaml.safe_load(file.read_text())["metadata"]["name"]
        until(lambda name=name: established(api, name) and lists(api, name), f"{name} is not served")


def lists(api: Api, name: str) -> bool:
    """Whether the store of a kind that was just established answers."""
    try:
        api.listed(f"/apis/sluice.dev/v1alpha1/{name.partition('.')[0]}", dict)
    except StorageUnavailable:
        return False
    return True


def established(api: Api, name: str) -> bool:
    found = api.get(f"{CRD_PATH}/{name}", dict)
    told = ((found or {}).get("status") or {}).get("conditions") or []
    return any(each["type"] == "Established" and each["status"] == "True" for each in told)


def unit(name: str) -> Callable[[Path], Manifest]:
    """Return what writes a small snapshot."""
    content = UnitContent(
        parts={"items": VectorsContent(identifiers=["a", "b"], matrix=np.eye(2, dtype=np.float32))},
        encoder=MeanEncoder(np.zeros(2, dtype=np.float32), decay=0.9),
    )
    provenance = {
        "id": name, "model": "default.home", "parent": None, "algorithm": "GMF", "parameters": {},
        "spec_hash": spec_hash(msgspec.convert(SPEC, ModelSpec)), "seed": 0, "code_version": "0", "created": 1.7e9,
        "offsets": {}, "interactions": 7, "metrics": {"indexRecall": 1.0},
    }  # fmt: skip
    return lambda directory: writer.write(directory, content, provenance)


class ServingPod:
    """A pod that holds what its annotation wants, except what it refuses; ``blind`` ones see it when reminded."""

    def __init__(self, world: "World", name: str, track: str) -> None:
        self.name, self._world = name, world
        self.refuses: set[str] = set()
        self.slow = self.blind = False
        self.source = "shop"
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(
            target=self._server.serve_forever, daemon=True, kwargs={"poll_interval": 0.02}
        ).start()
        world.create("pods", self._body(track))
        self.is_running()

    def _body(self, track: str) -> dict[str, Any]:
        port = {"name": "http", "containerPort": self._server.server_port}
        container = {"name": "faiss", "image": "sluice/faiss", "ports": [port]}
        labels = {"sluice.dev/model": self._world.model, "sluice.dev/track": track}
        return {"metadata": {"name": self.name, "labels": labels}, "spec": {"containers": [container]}}

    def is_running(self, *, ready: bool = True, phase: str = "Running") -> None:
        conditions = [{"type": "Ready", "status": str(ready)}]
        status = {
            "phase": phase,
            "podIP": "127.0.0.1",
            "podIPs": [{"ip": "127.0.0.1"}],
            "conditions": conditions,
        }
        self._world.api.patch(self._world.core(f"pods/{self.name}/status"), {"status": status})

    @property
    def annotations(self) -> dict[str, str]:
        found = self._world.object(f"pods/{self.name}")
        return found["metadata"].get("annotations", {})

    @property
    def wanted(self) -> list[str]:
        return json.loads(self.annotations.get("sluice.dev/snapshots", "[]"))

    @property
    def sees(self) -> list[str]:
        """What kubelet has brought to the pod."""
        return [] if self.blind and "sluice.dev/reminded" not in self.annotations else self.wanted

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _report(self) -> dict[str, Any]:
        wanted = self.sees
        loaded = [] if self.slow else [{"id": each} for each in wanted if each not in self.refuses]
        refused = [{"id": each, "reason": "no"} for each in wanted if each in self.refuses]
        return {
            "wanted": wanted,
            "loaded": loaded,
            "refused": refused,
            "headroom_bytes": 1 << 30,
            "source": self.source,
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        pod = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(pod._report()).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        return Handler


class World:
    """A namespace of its own with a model, its Deployments and snapshots.

    The stores are embedded ones, unless ``stores`` (settings) say otherwise.
    """

    def __init__(self, api: Api, namespace: str, home: Path, **stores: str) -> None:
        self.api, self.namespace, self.model = api, namespace, "home"
        self.key = f"{namespace}.{self.model}"
        self.settings = OperatorSettings(home=str(home), namespace=namespace, interval_seconds=0.1, **stores)
        self.backing = Backing(self.settings)
        self.catalog, self.routing = self.backing.catalog(self.key), self.backing.routing(self.key)
        self.pods: list[ServingPod] = []
        self._reporters = Reporters()
        self._now = time.time()
        api.create("/api/v1/namespaces", {"metadata": {"name": namespace}})

    def core(self, rest: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/{rest}"

    def ours(self, rest: str) -> str:
        return f"/apis/sluice.dev/v1alpha1/namespaces/{self.namespace}/{rest}"

    def apps(self, rest: str) -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/{rest}"

    def create(self, resource: str, body: dict[str, Any]) -> None:
        self.api.create(self.core(resource), body)

    def object(self, rest: str) -> dict[str, Any]:
        found = self.api.get(self.core(rest), dict)
        assert found is not None, rest
        return found

    def config_map(self, name: str) -> dict[str, str]:
        return (self.api.get(self.core(f"configmaps/{name}"), dict) or {}).get("data", {})

    def apply(self, **fields: Any) -> None:
        """Make the model, or give its spec other fields."""
        body = {
            "apiVersion": "sluice.dev/v1alpha1",
            "kind": "RecommenderModel",
            "metadata": {"name": self.model},
            "spec": SPEC | fields,
        }
        if self.recommender_model() is None:
            self.api.create(self.ours("recommendermodels"), body)
        else:
            until(lambda: self._respecified(SPEC | fields), "the spec is written")

    def _respecified(self, spec: dict[str, Any]) -> bool:
        """Whether the model was given another spec; not if its status was written meanwhile."""
        present = self.recommender_model()
        assert present is not None
        try:
            self.api.replace(self.ours(f"recommendermodels/{self.model}"), present | {"spec": spec}, dict)
        except Conflict:
            return False
        return True

    def recommender_model(self) -> dict[str, Any] | None:
        return self.api.get(self.ours(f"recommendermodels/{self.model}"), dict)

    def status(self) -> dict[str, Any]:
        return (self.recommender_model() or {}).get("status", {})

    def rollout(self) -> dict[str, Any]:
        return self.status().get("rollout", {})

    def condition(self, kind: str) -> dict[str, Any]:
        return next((each for each in self.status().get("conditions", []) if each["type"] == kind), {})

    def annotate(self, **annotations: str) -> None:
        named = {f"sluice.dev/{name}": value for name, value in annotations.items()}
        self.api.patch(self.ours(f"recommendermodels/{self.model}"), {"metadata": {"annotations": named}})

    def set_status(self, status: dict[str, Any]) -> None:
        """Write the status as somebody else might."""
        present = self.recommender_model()
        assert present is not None
        path = self.ours(f"recommendermodels/{self.model}/status")
        self.api.replace(path, present | {"status": status}, dict)

    def delete_model(self) -> None:
        present = self.recommender_model()
        assert present is not None
        self.api.delete(self.ours(f"recommendermodels/{self.model}"), present["metadata"]["uid"])

    def deployments(self) -> None:
        """Make both Deployments as the chart does: without a number of replicas."""
        for name in (f"{self.model}-faiss", f"{self.model}-faiss-canary"):
            labels = {"app": name}
            container = {"name": "faiss", "image": "sluice/faiss"}
            template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
            body = {
                "metadata": {"name": name},
                "spec": {"selector": {"matchLabels": labels}, "template": template},
            }
            self.api.create(self.apps("deployments"), body)

    def replicas(self, name: str) -> int:
        found = self.api.get(self.apps(f"deployments/{name}"), dict)
        assert found is not None
        return int(found["spec"].get("replicas", 0))

    def pod(self, name: str, track: str = "stable") -> ServingPod:
        made = ServingPod(self, name, track)
        self.pods.append(made)
        return made

    def cut(self, name: str) -> Path:
        """Let the trainer cut a snapshot; returns its folder."""
        store = self.backing.snapshots(self.key)
        made = store.publish(name, unit(name))
        self.catalog.commit(entry_of(store.uri(name), made, epoch=self.catalog.epoch()))
        return store.local(name)

    def index_snapshots(self) -> dict[str, dict[str, Any]]:
        found = self.api.listed(self.ours("indexsnapshots"), dict)
        return {each["metadata"]["name"]: each for each in found}

    def events(self) -> list[dict[str, Any]]:
        return self.api.listed(self.core("events"), dict)

    def operator(self) -> Reconciler:
        """Return the passes of an operator that was just started."""
        return Reconciler(self.settings, self.backing, self.api, self.namespace, self.model, self._reporters)

    def passes(
        self, operator: Reconciler, true: Callable[[RolloutState], Any], most: int = 60
    ) -> RolloutState:
        """Do passes, ten seconds from one to the next, until what they leave is as it should be."""
        for _ in range(most):
            self._now += 10.0
            state = operator.reconcile(self._now)
            if true(state):
                return state
        raise AssertionError(f"{state.phase}: {state.message}")

    def serves(self, operator: Reconciler, snapshot: str) -> RolloutState:
        """Do passes until a snapshot is stable and nothing is left to do."""
        return self.passes(operator, lambda state: state.stable == snapshot and state.phase == "Stable")

    def close(self) -> None:
        for pod in self.pods:
            pod.close()
        self.backing.close()


@contextmanager
def world_in(api: Api, namespace: str, home: Path, **stores: str) -> Iterator[World]:
    made = World(api, namespace, home, **stores)
    try:
        yield made
    finally:
        made.close()
