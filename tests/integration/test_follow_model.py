"""Services as pods: they wait for a model, take over the one that is applied, and end when they are told to."""

import json
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import harness
import pytest
import urllib3
from harness import Children, free_port

from sluice.backing import Backing
from sluice.embedded.home import Home
from sluice.events import NewRecord
from sluice.settings import Settings
from sluice.topics import profiles_group

until = partial(harness.until, timeout_s=90.0)
"""Each start of a trainer loads torch, which takes long on a busy machine."""
MODEL = """
apiVersion: sluice.dev/v1alpha1
kind: RecommenderModel
metadata: {{name: {name}}}
spec:
  algorithm: {{type: {type}}}
  source: {{name: shop, attributionWindow: {window}}}
  snapshots: {{interval: {interval}}}
  serving: {{excludeSeen: {exclude}}}
"""


class Mount:
    """A ConfigMap as the kubelet mounts it: links into a folder that is swapped as one."""

    def __init__(self, folder):
        self.folder, self.file, self._count = folder, folder / "model.yaml", 0
        folder.mkdir()

    def put(self, content):
        self._count += 1
        version = self.folder / f"..version-{self._count}"
        version.mkdir()
        (version / "model.yaml").write_text(content)
        (self.folder / "..data_tmp").symlink_to(version.name)
        (self.folder / "..data_tmp").rename(self.folder / "..data")
        if not self.file.is_symlink():
            self.file.symlink_to("..data/model.yaml")


def model(name="home", exclude="true", type="CoVisitation", interval="10m", window="30m"):
    return MODEL.format(name=name, exclude=exclude, type=type, interval=interval, window=window)


class Pod:
    """One process that follows its models, with what it serves."""

    def __init__(self, children, folder, port):
        self.children, self.folder, self.port = children, folder, port
        self.mounts = [Mount(folder / name) for name in ("home", "site")]
        self.http = urllib3.PoolManager(retries=False, timeout=20.0)
        self.child = None

    def start(self, module, *arguments, models=1, **settings):
        files = ",".join(str(mount.file) for mount in self.mounts[:models])
        settings |= {"home": self.folder / "state", "model_file": files, "follow_model": "true"}
        self.child = self.children.start(
            module,
            *arguments,
            environment={f"SLUICE_{key.upper()}": str(value) for key, value in settings.items()},
        )
        until(lambda: self.status("/healthz") == 200, "it is healthy")
        return self

    def get(self, path, method="GET", document=None):
        body = None if document is None else json.dumps(document)
        headers = {"Content-Type": "application/json"} if document is not None else {}
        return self.http.request(method, f"http://127.0.0.1:{self.port}{path}", body=body, headers=headers)

    def status(self, path):
        try:
            return self.get(path).status
        except urllib3.exceptions.HTTPError:
            return None

    def events(self):
        """What its log says, in order."""
        return [json.loads(line)["event"] for line in self.child.says().splitlines() if line[:1] == "{"]

    def says(self, event, times=1):
        """Wait until its log says so."""
        return until(lambda: self.events().count(event) >= times, event)


@pytest.fixture
def pod(tmp_path):
    children = Children(tmp_path / "logs")
    yield Pod(children, tmp_path, free_port())
    children.kill_all()


class Load:
    """Constant requests from two clients, one on a kept connection, one on new ones; counts what fails."""

    def __init__(self, pod, path):
        self.pod, self.path, self.failed, self.answered = pod, path, [], 0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(kept,)) for kept in (True, False)]

    def _ask(self, kept):
        http = urllib3.PoolManager(retries=False, timeout=20.0)
        headers = {} if kept else {"Connection": "close"}
        while not self._over.is_set():
            try:
                answer = http.request("GET", f"http://127.0.0.1:{self.pod.port}{self.path}", headers=headers)
                if answer.status != 200:
                    self.failed.append((answer.status, answer.data))
                self.answered += 1
            except urllib3.exceptions.HTTPError as error:
                self.failed.append(repr(error))
            time.sleep(0.002)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join()


def start_api(pod, **settings):
    urls = {"faiss_stable_urls": "default.home=dns+http://home.invalid:1;default.site="}
    return pod.start("sluice_recommender", "api", listen_port=pod.port, **urls, **settings)


def test_the_api_is_ready_without_a_model_and_serves_the_one_that_is_applied(pod):
    start_api(pod)
    assert pod.status("/readyz") == pod.status("/openapi.json") == 200
    answer = pod.get("/v1/popular")
    assert (answer.status, answer.json()["type"]) == (503, "urn:sluice:no-model")
    assert "apply the RecommenderModel" in answer.json()["detail"]
    with Load(pod, "/openapi.json") as load:
        pod.mounts[0].put(model())
        until(lambda: pod.status("/v1/popular") == 200, "popular items are answered")
    assert load.failed == []
    assert pod.status("/readyz") == 200
    assert pod.child.stop() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_another_model_is_taken_over_without_a_failed_request(pod, workers):
    pod.mounts[0].put(model())
    start_api(pod, workers=workers)
    until(lambda: pod.status("/v1/popular") == 200, "popular items are answered")
    first = pids(pod.child.pid)
    with Load(pod, "/v1/popular") as load:
        for times, exclude in enumerate(("false", "true"), start=2):
            pod.mounts[0].put(model(exclude=exclude))
            pod.says("models read", times)
            before = load.answered
            until(lambda first=first: not (first & pids(pod.child.pid)), "the workers are others")
            until(lambda before=before: load.answered > before + 20, "answers of the new workers")
            first = pids(pod.child.pid)
    assert load.failed == []
    assert len(first) == workers
    assert pod.child.stop() == 0


def pids(parent):
    """The processes that ``parent`` forked."""
    children = Path(f"/proc/{parent}/task/{parent}/children")
    return {int(word) for word in children.read_text().split()}


def test_an_unusable_model_is_told_once_and_the_last_good_one_serves_on(pod):
    pod.mounts[0].put(model())
    start_api(pod)
    until(lambda: pod.status("/v1/popular") == 200, "popular items are answered")
    workers = pids(pod.child.pid)
    pod.mounts[0].put("[")
    pod.says("model file unusable, the last good one stays")
    pod.mounts[0].put("[[")
    pod.says("model file unusable, the last good one stays", 2)
    assert pids(pod.child.pid) == workers
    assert pod.status("/v1/popular") == 200
    assert pod.child.stop() == 0


def test_of_several_models_those_that_are_there_are_served(pod):
    pod.mounts[1].put(model("site"))
    start_api(pod, models=2)
    until(lambda: pod.status("/v1/popular?model=site") == 200, "the model that is there answers")
    assert pod.status("/v1/popular?model=home") == 404
    pod.mounts[0].put(model("home"))
    until(lambda: pod.status("/v1/popular?model=home") == 200, "so does the one that appears")
    assert pod.status("/v1/popular?model=site") == 200


def start_trainer(pod):
    settings = {"status_port": pod.port, "warmup_events": 5, "checkpoint_seconds": 0.2}
    return pod.start("sluice_trainer", **settings)


def interactions(folder, count, start=0):
    """Append so many to the log that a pod reads."""
    log = Home(folder / "state").log("shop")
    for number in range(start, start + count):
        user, item = f"u{number % 7}", f"i{number % 5}"
        log.append("shop.interactions", [NewRecord(user.encode(), f"{user}:{item}".encode())])
    log.close()


def missing(folder):
    """How many interactions the profiles process has yet to commit."""
    log = Home(folder / "state").log("shop")
    ends, committed = log.end_offsets("shop.interactions"), log.committed(profiles_group("shop"))
    log.close()
    return sum(end - committed.get(partition, 0) for partition, end in ends.items())


def told(pod):
    try:
        return SimpleNamespace(**{"model": None, "interactions": 0, **pod.get("/status").json()})
    except urllib3.exceptions.HTTPError:  # it begins anew just now
        return SimpleNamespace(model=None, interactions=0)


def test_a_trainer_waits_for_its_model_and_goes_on_from_its_checkpoint_with_a_changed_one(pod):
    start_trainer(pod)
    assert pod.status("/readyz") == 200
    assert "no model yet" in pod.get("/status").json()["waiting"]
    assert pod.status("/metrics") == 200
    interactions(pod.folder, 40)
    pid = pod.child.pid
    pod.mounts[0].put(model())
    until(lambda: told(pod).interactions == 40, "everything is learned")
    pod.mounts[0].put(model(interval="20m"))
    pod.says("resumed")
    until(lambda: told(pod).interactions == 40, "nothing is learned twice")
    interactions(pod.folder, 10, start=40)
    until(lambda: told(pod).interactions == 50, "it learns on")
    pod.mounts[0].put(model(type="Popular"))
    until(lambda: pod.events().count("trainer started") == 3, "another algorithm begins from the start")
    until(lambda: told(pod).interactions == 50, "and learns everything")
    assert (pod.child.pid, pod.child.running) == (pid, True)
    assert pod.child.stop() == 0


def test_a_trainer_that_was_replaced_stays_idle_until_the_model_changes(pod):
    pod.mounts[0].put(model())
    start_trainer(pod)
    interactions(pod.folder, 20)
    until(lambda: told(pod).interactions == 20, "everything is learned")
    settings = Settings(home=str(pod.folder / "state"))
    newer = Backing(settings).catalog("default.home").claim()
    pod.says("this trainer was replaced, stopping")
    until(lambda: f"was replaced by {newer}" in pod.get("/status").json().get("waiting", ""), "it says why")
    assert pod.status("/readyz") == pod.status("/healthz") == pod.status("/metrics") == 200
    assert Backing(settings).catalog("default.home").epoch() == newer, "it replaces nobody in turn"
    pod.mounts[0].put(model(interval="20m"))
    until(lambda: told(pod).interactions == 20, "it learns again")
    assert pod.child.stop() == 0


def test_a_trainer_that_was_replaced_ends_when_it_is_told_to(pod):
    pod.mounts[0].put(model())
    start_trainer(pod)
    pod.says("trainer started")
    until(lambda: told(pod).model == "default.home", "it works")
    Backing(Settings(home=str(pod.folder / "state"))).catalog("default.home").claim()
    pod.says("this trainer was replaced, stopping")
    assert pod.child.stop() == 0


def test_a_model_that_a_trainer_cannot_learn_leaves_the_last_one_learning(pod):
    pod.mounts[0].put(model())
    start_trainer(pod)
    interactions(pod.folder, 20)
    until(lambda: told(pod).interactions == 20, "everything is learned")
    pod.mounts[0].put(model(type="ALS"))
    pod.says("model file unusable, the last good one stays")
    interactions(pod.folder, 5, start=20)
    until(lambda: told(pod).interactions == 25, "it learns on")
    assert pod.child.stop() == 0


def start_profiles(pod):
    return pod.start("sluice_recommender", "profiles", metrics_port=pod.port)


def test_profiles_wait_for_a_model_and_begin_anew_with_another(pod):
    start_profiles(pod)
    assert pod.status("/readyz") == pod.status("/metrics") == 200
    pod.mounts[0].put(model())
    pod.says("keeping profiles")
    until(lambda: pod.status("/readyz") == 200, "it is a member of its group")
    interactions(pod.folder, 20)
    pod.mounts[0].put(model(window="1h"))
    pod.says("keeping profiles", 2)
    until(lambda: pod.status("/readyz") == 200, "it is a member again")
    interactions(pod.folder, 10, start=20)
    until(lambda: not missing(pod.folder), "all is applied")
    assert pod.child.stop() == 0


@pytest.mark.parametrize("start", [start_trainer, start_profiles, start_api])
def test_who_waits_for_a_model_ends_at_once(pod, start):
    start(pod)
    began = time.monotonic()
    assert pod.child.stop() == 0
    assert time.monotonic() - began < harness.DEADLINE_S / 2
