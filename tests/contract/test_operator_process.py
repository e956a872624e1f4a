"""``sluice-operator`` as it runs: its own process, with its own rights, against a real API server that may go away."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import urllib3

from contract.operating import CRD_PATH, CRDS, ROLE, World, api_of, install_crds, until, world_in
from sluice import settings
from sluice_cli.backends import ports
from sluice_operator.kubernetes.api import Api
from sluice_operator.passes import GAP_S
from sluice_operator.settings import OperatorSettings

HTTP = urllib3.PoolManager(timeout=urllib3.Timeout(5.0), retries=False)


class Plane:
    """A control plane whose API server can be killed and started again."""

    def __init__(self, kubeconfig: Path, kill: Callable[[], None], start: Callable[[], None]) -> None:
        self.kubeconfig, self.kill, self.start = kubeconfig, kill, start
        self.api = api_of(kubeconfig)


@contextmanager
def restartable(folder: Path) -> Iterator[Plane]:
    from cluster import api, certificates, plane
    from cluster.programs import program
    from sluice_cli.backends.process import Process

    made = plane.Plane(folder, "127.0.0.1", *ports.free(3))
    certificates.make(made.certificates, made.names())
    kubeconfig = folder / "kubeconfig"
    certificates.write_kubeconfig(kubeconfig, made.certificates, "admin", made.url, "alone")
    etcd, server = Process(folder / "etcd.log"), Process(folder / "apiserver.log")

    def start() -> None:
        server.start([str(program("kube-apiserver")), *made.apiserver(alone=True)], folder)
        until(api.Api(kubeconfig).is_ready, server.last_words(), timeout_s=120.0)

    try:
        etcd.start([str(program("etcd")), *made.etcd()], folder)
        start()
        yield Plane(kubeconfig, server.kill, start)
    finally:
        server.kill()
        etcd.kill()


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with restartable(tmp_path_factory.mktemp("plane")) as made:
        yield made


@pytest.fixture
def world(plane: Plane, tmp_path: Path) -> Iterator[World]:
    if plane.api.get("/apis/sluice.dev/v1alpha1", dict) is None:
        install_crds(plane.api)
    with world_in(plane.api, f"n-{uuid.uuid4().hex[:10]}", tmp_path) as made:
        made.deployments()
        made.pod("home-faiss-0")
        yield made


class Operator:
    """The process."""

    def __init__(self, world: World, kubeconfig: Path) -> None:
        self.port = ports.free(1)[0]
        environment = os.environ | settings.as_environment(world.settings)
        environment |= {"KUBECONFIG": str(kubeconfig), "SLUICE_METRICS_PORT": str(self.port)}
        self.log = Path(world.settings.home) / f"operator-{self.port}.log"
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sluice_operator"], env=environment, stderr=stream
            )

    def get(self, path: str) -> tuple[int, str]:
        try:
            answer = HTTP.request("GET", f"http://127.0.0.1:{self.port}{path}")
        except urllib3.exceptions.HTTPError as error:
            return 0, str(error)
        return answer.status, answer.data.decode()

    def said(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture
def start(plane: Plane, world: World) -> Iterator[Callable[..., Operator]]:
    started: list[Operator] = []

    def one(kubeconfig: Path = plane.kubeconfig) -> Operator:
        started.append(Operator(world, kubeconfig))
        return started[-1]

    yield one
    for operator in started:
        if operator.process.poll() is None:
            operator.process.kill()
            operator.process.wait()


def serves(world: World, snapshot: str) -> Callable[[], bool]:
    def true() -> bool:
        routing = world.routing.read()
        told = all(pod.wanted[:1] == [snapshot] for pod in world.pods)
        return told and routing is not None and routing.stable == snapshot

    return true


def account(api: Api, world: World, folder: Path, kubeconfig: Path) -> Path:
    """Return the kubeconfig of a service account that may do what ADR 0016 lists and nothing else."""
    group = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{world.namespace}"
    subject = {"kind": "ServiceAccount", "name": "operator", "namespace": world.namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "operator"}
    world.create("serviceaccounts", {"metadata": {"name": "operator"}})
    api.create(f"{group}/roles", {"metadata": {"name": "operator"}, "rules": ROLE})
    binding = {"metadata": {"name": "operator"}, "roleRef": reference, "subjects": [subject]}
    api.create(f"{group}/rolebindings", binding)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = json.loads(api._call("POST", world.core("serviceaccounts/operator/token"), request))
    made = json.loads(kubeconfig.read_text())
    made["users"][0]["user"] = {"token": answer["status"]["token"]}
    file = folder / "account.kubeconfig"
    file.write_text(json.dumps(made))
    return file


def test_it_needs_no_more_rights_than_its_role_gives(
    plane: Plane, world: World, start, tmp_path: Path
) -> None:
    operator = start(account(plane.api, world, tmp_path, plane.kubeconfig))
    world.apply()
    world.cut("gmf-1")
    until(serves(world, "gmf-1"), "not served")
    until(lambda: world.index_snapshots().get("home.gmf-1", {}).get("status"), "no IndexSnapshot")
    until(lambda: [each for each in world.events() if each["reason"] == "Promoted"], "no Event")
    assert world.replicas("home-faiss-canary") == 0
    world.catalog.release({"gmf-1"}, epoch=world.rollout()["epoch"])
    world.catalog.remove("gmf-1")
    until(lambda: not world.index_snapshots(), "IndexSnapshot stays")
    found = world.recommender_model()
    assert found is not None
    assert "finalizers" not in found["metadata"]
    assert found["metadata"].get("annotations", {}) == {}
    assert operator.stop() == 0
    assert [each for each in operator.said() if each["level"] in ("warning", "error", "critical")] == []


def test_it_says_how_it_is_and_ends_on_sigterm(world: World, start) -> None:
    world.apply()
    operator = start()
    until(lambda: operator.get("/readyz")[0] == 200, "not ready")
    assert operator.get("/healthz") == (200, "ok")
    until(lambda: f'sluice_rollout_epoch{{model="{world.key}"}}' in operator.get("/metrics")[1], "no metrics")
    world.delete_model()
    until(lambda: f'model="{world.key}"}}' not in rollout_lines(operator), "a deleted model is still exposed")
    begun = time.monotonic()
    assert operator.stop() == 0
    assert time.monotonic() - begun < 10.0


def rollout_lines(operator: Operator) -> str:
    lines = operator.get("/metrics")[1].splitlines()
    return "\n".join(line for line in lines if line.startswith("sluice_rollout_epoch"))


def with_interval(world: World, seconds: float) -> OperatorSettings:
    present = msgspec.structs.asdict(world.settings)
    return OperatorSettings(**present | {"interval_seconds": seconds})


def test_a_change_is_seen_at_once_not_at_the_next_interval(world: World, start) -> None:
    world.settings = with_interval(world, 600.0)
    operator = start()
    until(lambda: operator.get("/readyz")[0] == 200, "not ready")
    world.apply()
    until(lambda: world.config_map("home-spec"), "the model is not seen")
    world.apply(snapshots={"events": 42})
    until(lambda: "42" in world.config_map("home-spec")["model.yaml"], "the change is not seen")


def passes(operator: Operator) -> int:
    lines = operator.get("/metrics")[1].splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("sluice_passes_total{"))


def test_a_status_that_is_written_brings_no_pass(world: World, start) -> None:
    world.settings = with_interval(world, 600.0)
    world.apply()
    operator = start()
    until(lambda: world.status().get("conditions"), "nothing is told")
    enough = time.monotonic() + 3 * GAP_S
    while time.monotonic() < enough:
        world.set_status(world.status() | {"note": time.monotonic()})
    world.apply(snapshots={"events": 42})
    until(lambda: "42" in world.config_map("home-spec")["model.yaml"], "the change is not seen")
    until(lambda: passes(operator) >= 2, "passes are not counted")
    assert passes(operator) == 2


def test_it_goes_on_when_the_api_server_was_killed_and_is_back(plane: Plane, world: World, start) -> None:
    world.apply()
    world.cut("gmf-1")
    operator = start()
    until(serves(world, "gmf-1"), "not served")
    plane.kill()
    world.cut("gmf-2")
    until(
        lambda: any("cannot be reached" in line.get("reason", "") for line in operator.said()),
        "no word of it",
    )
    plane.start()
    until(serves(world, "gmf-2"), "not served again")
    world.apply(snapshots={"events": 43})
    until(
        lambda: "43" in world.config_map("home-spec")["model.yaml"],
        "changes are not seen any more",
        timeout_s=60.0,
    )
    assert operator.process.poll() is None


def test_it_goes_on_when_the_definition_was_deleted_and_is_back(tmp_path: Path) -> None:
    with restartable(tmp_path / "plane") as plane, world_in(plane.api, "models", tmp_path) as world:
        install_crds(plane.api)
        world.apply()
        operator = Operator(world, plane.kubeconfig)
        try:
            until(lambda: world.config_map("home-spec"), "the model is not seen")
            for file in CRDS:
                path = f"{CRD_PATH}/{file.stem}"
                definition = plane.api.get(path, dict)
                assert definition is not None
                plane.api.delete(path, definition["metadata"]["uid"])
                until(lambda path=path: plane.api.get(path, dict) is None, "the definition stays")
            ended = "watch ended, it is begun anew"
            until(
                lambda: [line for line in operator.said() if line["event"] == ended],
                "no word of it",
                timeout_s=60.0,
            )
            install_crds(plane.api)
            world.apply(snapshots={"events": 42})
            until(lambda: "42" in world.config_map("home-spec")["model.yaml"], "the model is not seen")
        finally:
            assert operator.stop() == 0


def test_one_that_was_killed_is_replaced_by_another(world: World, start) -> None:
    world.apply()
    world.cut("gmf-1")
    first = start()
    until(serves(world, "gmf-1"), "not served")
    world.pods[0].slow = True
    world.cut("gmf-2")
    until(lambda: world.rollout().get("candidate") == "gmf-2", "not rolling")
    first.process.kill()
    world.pods[0].slow = False
    start()
    until(serves(world, "gmf-2"), "not served by the second")


def promotions(world: World) -> list[str]:
    return [each["message"] for each in world.events() if each["reason"] == "Promoted"]


def test_two_processes_at_once_do_no_harm(world: World, start) -> None:
    world.apply()
    both = [start(), start()]
    for name in ("gmf-1", "gmf-2", "gmf-3"):
        world.cut(name)
        until(serves(world, name), f"{name} is not served", timeout_s=60.0)
    assert all(operator.process.poll() is None for operator in both)
    until(lambda: len(promotions(world)) >= 3, "decisions are not told")
    assert len(promotions(world)) == len(set(promotions(world))) == 3
    unexpected = [line for operator in both for line in operator.said() if "unexpected" in line["event"]]
    assert unexpected == []


def test_without_the_definitions_it_is_not_ready_and_begins_once_they_are_there(tmp_path: Path) -> None:
    with restartable(tmp_path / "plane") as plane, world_in(plane.api, "models", tmp_path) as world:
        operator = Operator(world, plane.kubeconfig)
        try:
            until(lambda: operator.get("/readyz")[0] == 503, "ready without definitions")
            assert operator.get("/healthz")[0] == 200
            install_crds(plane.api)
            world.apply()
            until(lambda: operator.get("/readyz")[0] == 200, "not ready")
            until(lambda: world.config_map("home-spec"), "the model is not seen")
        finally:
            assert operator.stop() == 0


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"SLUICE_INTERVAL_SECONDS": "0"}, "SLUICE_INTERVAL_SECONDS is '0'"),
        ({"SLUICE_MONGO_URL": "mongodb://localhost"}, "SLUICE_REDIS_URL is not set"),
        ({"SLUICE_NAMESPACE": "models"}, "no API server can be found"),
    ],
)
def test_settings_that_cannot_be_used_end_it_with_one_sentence(
    variables: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SLUICE_", "KUBE"))}
    environment = clean | {
        "HOME": str(tmp_path),
        "SLUICE_HOME": str(tmp_path),
        "KUBECONFIG": str(tmp_path / "none"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "sluice_operator"],
        env=environment | {"SLUICE_NAMESPACE": "models"} | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
