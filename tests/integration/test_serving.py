"""Both services as real processes over the embedded adapters: two Faiss pods, the API, the profiles process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import urllib3
from harness import free_port

from sluice.catalog import CatalogEntry
from sluice.embedded.home import Home
from sluice.embedded.models import EmbeddedCatalog, EmbeddedEvidence, EmbeddedRouting
from sluice.encoder import MeanEncoder
from sluice.events import NewRecord
from sluice.routing import Routing
from sluice.snapshot import manifest
from sluice.snapshot.content import UnitContent, VectorsContent
from sluice.snapshot.writer import write
from sluice.topics import topics_of

MODEL, TOPICS, ITEMS = "default.home", topics_of("shop"), 200
MODEL_FILE = """
apiVersion: sluice.dev/v1alpha1
kind: RecommenderModel
metadata: {name: home}
spec:
  algorithm: {type: GMF}
  source: {name: shop, attributionWindow: 1s}
"""


def eventually(ask, holds, deadline_s=10.0):
    """Ask until the answer holds; fail with the last one."""
    end = time.monotonic() + deadline_s
    while True:
        answer = ask()
        if holds(answer):
            return answer
        assert time.monotonic() < end, f"still: {answer}"
        time.sleep(0.02)


class Platform:
    """A home with two snapshots and the processes over it."""

    def __init__(self, folder: Path):
        self.folder, self.home = folder, Home(folder / "home")
        self.log, self.catalog = self.home.log("shop"), EmbeddedCatalog(self.home.model(MODEL))
        self.routing, self.evidence = (
            EmbeddedRouting(self.home.model(MODEL)),
            EmbeddedEvidence(self.home.model(MODEL)),
        )
        self.model_file = folder / "model.yaml"
        self.model_file.write_text(MODEL_FILE)
        self.http, self.processes, self.epoch = urllib3.PoolManager(retries=False), {}, self.catalog.claim()
        self.ports = {name: free_port() for name in ("stable", "canary", "api")}

    def start(self, name, command, **settings):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SLUICE_")}
        environment |= {"SLUICE_HOME": str(self.home.folder), "SLUICE_MODEL_FILE": str(self.model_file)}
        environment |= {f"SLUICE_{key.upper()}": str(value) for key, value in settings.items()}
        with (self.folder / f"{name}.log").open("ab") as errors:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *command.split()], env=environment, stderr=errors
            )

    def start_faiss(self, name, **settings):
        self.start(
            name,
            "sluice_faiss",
            listen_port=self.ports[name],
            wanted_file=self.folder / f"{name}.wanted",
            cache=self.folder / f"{name}.cache",
            **settings,
        )

    def start_api(self):
        urls = {f"faiss_{name}_urls": f"http://127.0.0.1:{self.ports[name]}" for name in ("stable", "canary")}
        self.start("api", "sluice_recommender api", listen_port=self.ports["api"], local=True, **urls)

    def start_profiles(self):
        self.start("profiles", "sluice_recommender profiles")

    def stop(self):
        self.http.clear()  # a server waits for its kept connections
        for process in self.processes.values():
            process.terminate()
        return {name: process.wait(20) for name, process in self.processes.items()}

    def want(self, name, *snapshots):
        temporary = self.folder / f"{name}.wanted.tmp"
        temporary.write_text(json.dumps(snapshots))
        temporary.rename(self.folder / f"{name}.wanted")

    def cut(self, snapshot):
        directory = self.home.snapshots(MODEL) / snapshot
        matrix = np.random.default_rng(7).normal(size=(ITEMS, 8)).astype(np.float32)
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        content = UnitContent(
            parts={"items": VectorsContent(identifiers=[f"i{row}" for row in range(ITEMS)], matrix=matrix)},
            encoder=MeanEncoder(matrix.mean(axis=0), decay=0.9),
        )
        about = {"id": snapshot, "parent": None, "algorithm": "GMF", "spec_hash": "x", "created": 0.0}
        more = {"model": MODEL, "parameters": {}, "seed": 0, "code_version": "0", "offsets": {}}
        made = write(directory, content, {**about, **more, "interactions": 0, "metrics": {}})
        digest = manifest.digest(directory / manifest.MANIFEST)
        uri = f"file://{directory}"
        self.catalog.commit(
            CatalogEntry(
                **about,
                uri=uri,
                digest=digest,
                epoch=self.epoch,
                interactions=0,
                bytes=made.bytes,
                metrics={},
            )
        )
        return directory

    def route(self, **changes):
        values = {"rollout": "r1", "stable": "s1", "candidate": None, "weight": 0}
        current = self.routing.read()
        epoch = current.epoch + 1 if current else 1
        self.routing.publish(Routing(**{**values, **changes}, epoch=epoch, renewed=time.time()))

    def call(self, name, method, path, document=None):
        body = None if document is None else json.dumps(document).encode()
        try:
            answer = self.http.request(method, f"http://127.0.0.1:{self.ports[name]}{path}", body=body)
        except urllib3.exceptions.HTTPError as error:
            return SimpleNamespace(status=0, json={}, text=str(error))
        text = answer.data.decode()
        is_json = "json" in answer.headers["Content-Type"]
        return SimpleNamespace(status=answer.status, json=json.loads(text) if is_json else None, text=text)

    def get(self, path, name="api"):
        return self.call(name, "GET", path)

    def post(self, path, document):
        return self.call("api", "POST", path, document)

    def ready(self, name):
        eventually(lambda: self.get("/readyz", name).status, lambda status: status == 200, 20)

    def letters(self):
        return self.log.read(dict.fromkeys(self.log.partitions(TOPICS.dead_letters), 0), 100, 0.0)

    def snapshots(self, name="stable"):
        return self.get("/v1/snapshots", name).json


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    platform = Platform(tmp_path_factory.mktemp("serving"))
    platform.cut("s1")
    platform.want("stable", "s1")
    platform.route()
    platform.start_faiss("stable", workers=2, threads=2)
    platform.start_faiss("canary")
    platform.start_api()
    platform.start_profiles()
    try:
        for name in ("stable", "canary", "api"):
            platform.ready(name)
        yield platform
    finally:
        platform.stop()


def recommended(platform, user):
    return [each["item_id"] for each in platform.get(f"/v1/recommendations/{user}").json["items"]]


def strategy(platform, user):
    return platform.get(f"/v1/recommendations/{user}").json["strategy"]


def test_a_click_counts_within_a_moment(platform):
    assert strategy(platform, "new") == "popular"
    assert platform.post("/v1/interactions", {"user_id": "new", "item_id": "i1"}).status == 202
    eventually(lambda: strategy(platform, "new"), lambda found: found == "personalized", 2)
    before = recommended(platform, "new")
    assert len(before) == 10
    assert "i1" not in before
    platform.post("/v1/interactions", [{"user_id": "new", "item_id": before[0]}] * 2)
    after = eventually(lambda: recommended(platform, "new"), lambda found: found != before, 2)
    assert before[0] not in after


def test_items_get_their_titles(platform):
    answer = platform.call("api", "PUT", "/v1/items/i5", {"title": "Five", "features": ["genre:Comedy"]})
    assert answer.status == 202
    eventually(lambda: platform.get("/v1/items/i5").json, lambda item: item.get("title") == "Five", 2)
    platform.post("/v1/interactions", {"user_id": "someone", "item_id": "i5"})
    popular = eventually(
        lambda: platform.get("/v1/popular?n=100").json["items"],
        lambda items: any((each["metadata"] or {}).get("title") == "Five" for each in items),
        5,
    )
    assert popular[0]["score"] > 0


def test_similar_items_come_from_the_snapshot(platform):
    answer = platform.get("/api/v1/recommendations/i1?n=3").json
    assert (answer["strategy"], answer["snapshot"], len(answer["items"])) == ("similar", "s1", 3)


def test_malformed_records_become_dead_letters(platform):
    before = len(platform.letters())
    bad = [b"nonsense", b'{"user_id":"u"}', b"\xff"]
    platform.log.append(TOPICS.interactions, [NewRecord(b"u", value) for value in bad])
    letters = eventually(platform.letters, lambda found: len(found) == before + 3)
    assert {dict(each.headers)["reason"] for each in letters} >= {b"bad-shape", b"missing-field", b"bad-utf8"}


def test_a_killed_profiles_process_goes_on_where_it_stopped(platform):
    platform.processes["profiles"].kill()
    platform.processes["profiles"].wait()
    letters = len(platform.letters())
    accepted = platform.post("/v1/interactions", [{"user_id": "k", "item_id": f"i{n}"} for n in range(20)])
    assert accepted.json == {"accepted": 20}
    platform.start_profiles()
    eventually(lambda: strategy(platform, "k"), lambda found: found == "personalized")
    assert len(platform.letters()) == letters


def test_a_damaged_snapshot_is_refused_while_the_last_good_one_serves(platform):
    matrix = platform.cut("damaged") / "items.matrix.npy"
    good = matrix.read_bytes()
    flipped = bytearray(good)
    flipped[len(flipped) // 2] ^= 1
    matrix.write_bytes(flipped)
    platform.want("stable", "damaged", "s1")
    refused = eventually(platform.snapshots, lambda found: found["refused"])
    assert [each["id"] for each in refused["loaded"]] == ["s1"]
    assert "checksum" in refused["refused"][0]["reason"]
    assert platform.get("/readyz", "stable").status == 503
    assert strategy(platform, "new") == "personalized"
    matrix.write_bytes(good)
    healed = eventually(platform.snapshots, lambda found: len(found["loaded"]) == 2)
    assert healed["refused"] == []
    platform.want("stable", "s1")
    eventually(platform.snapshots, lambda found: len(found["loaded"]) == 1)
    assert platform.get("/readyz", "stable").status == 200


def test_stable_answers_where_the_canary_lacks_the_candidate(platform):
    platform.cut("s2")
    platform.route(candidate="s2", weight=100, rollout="r2")
    for _ in range(20):
        answer = platform.get("/v1/recommendations/new").json
        assert (answer["snapshot"], answer["track"]) == ("s1", "stable")
    platform.want("canary", "s2")
    platform.ready("canary")
    answer = eventually(
        lambda: platform.get("/v1/recommendations/new").json, lambda found: found["track"] == "candidate"
    )
    assert answer["snapshot"] == "s2"
    counted = eventually(lambda: platform.evidence.totals("r2", 0).requests.get("s2"), lambda found: found)
    assert counted.errors == 0, "pods that had not been given the candidate have not failed it"
    platform.want("canary")
    answer = eventually(
        lambda: platform.get("/v1/recommendations/new").json, lambda found: found["track"] == "stable"
    )
    assert (answer["snapshot"], answer["strategy"]) == ("s1", "personalized")


def test_clicks_on_answers_become_evidence_of_the_snapshot_that_answered(platform):
    platform.route(candidate="s2", weight=0, rollout="r3")
    eventually(lambda: platform.evidence.totals("r3", 0).hits_at, lambda at: at is not None)
    answer = platform.get("/v1/recommendations/new").json
    clicked = {"user_id": "new", "item_id": answer["items"][0]["item_id"], "request_id": answer["request_id"]}
    platform.post("/v1/interactions", clicked)
    hits = eventually(lambda: platform.evidence.totals("r3", 0).hits.get("s1"), lambda found: found, 15)
    assert (hits.users, hits.hits) == (1, 1)
    requests = platform.evidence.totals("r3", 0).requests["s1"]
    assert requests.n >= 1
    assert requests.errors == 0


def test_a_port_in_use_is_one_sentence(platform):
    platform.start("second", "sluice_recommender api", listen_port=platform.ports["api"])
    assert platform.processes.pop("second").wait(20) == 2
    [line] = (platform.folder / "second.log").read_text().splitlines()
    assert f"SLUICE_LISTEN_PORT is {platform.ports['api']}" in line


def test_metrics_speak_for_all_workers(platform):
    text = platform.get("/metrics", "stable").text
    assert "sluice_snapshots_loaded" in text
    assert "sluice_search_seconds_count" in text
    assert "sluice_answers_total" in platform.get("/metrics").text


def test_termination_is_clean_and_loses_no_answer(platform):
    end = platform.log.end_offsets(TOPICS.answers)
    given = [platform.get("/v1/recommendations/new").json["request_id"] for _ in range(5)]
    platform.http.clear()
    api = platform.processes.pop("api")
    api.send_signal(signal.SIGTERM)
    assert api.wait(20) == 0
    written = {json.loads(each.value)["request_id"] for each in platform.log.read(end, 1_000, 0.0)}
    assert set(given) <= written
    assert set(platform.stop().values()) == {0}
    for log in ("stable", "canary", "api", "profiles"):
        assert "Traceback" not in (platform.folder / f"{log}.log").read_text()
