"""A home for real controllers: sound snapshots, pods that obey at once, and evidence that lets everything pass.

The pods are one HTTP server of this process: each "holds" what the file that plays the downward API names. A
thread follows the routing as recommenders and trainer do, writes evidence under it, and remembers every
routing that was ever published.
"""

import json
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import yaml
from harness import Child, Children, until
from pod import content, provenance

from sluice.embedded.home import Home
from sluice.embedded.models import EmbeddedCatalog, EmbeddedEvidence, EmbeddedRouting
from sluice.evidence import LATENCY_BOUNDS_MS, EvidenceRow, Paired, Requests
from sluice.model import ModelSpec, spec_hash
from sluice.routing import Routing
from sluice.snapshot.entry import entry_of
from sluice.snapshot.writer import write
from sluice_cli.fleet import Files, LocalPod
from sluice_operator.embedded import EmbeddedRollout
from sluice_operator.rollout import GroupName, RolloutState

KEY = "default.m"
STEPS = [
    {"shadow": {"events": 500}},
    {"gate": {"names": ["recall"], "timeout": "5m"}},
    {"setWeight": 20},
    {"gate": {"names": ["errors"], "timeout": "5m"}},
    {"setWeight": 50},
    {"gate": {"names": ["errors"], "timeout": "5m"}},
]
GATES = [
    {"name": "recall", "source": "Prequential", "metric": "mrr", "compareTo": "Stable", "margin": "0.02"},
    {"name": "errors", "source": "Online", "metric": "errorRate", "max": "0.01", "minSamples": 100},
]
EVERY_BUCKET = len(LATENCY_BOUNDS_MS) + 1


class _Pods(BaseHTTPRequestHandler):
    """Answers ``GET /<pod>/v1/snapshots``."""

    def __init__(self, files: Files, *arguments: Any) -> None:
        self._files = files
        super().__init__(*arguments)

    def do_GET(self) -> None:
        wanted = self._files.wanted(self.path.split("/")[1])
        held = json.loads(wanted.read_bytes()) if wanted.exists() else []
        body = json.dumps({"wanted": held, "loaded": [{"id": name} for name in held], "refused": []}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class RolloutWorld:
    """One model whose snapshots are rolled out by whatever controllers a test starts."""

    def __init__(self, folder: Path, children: Children) -> None:
        self._children = children
        self.home = Home(folder / "home")
        self.home.folder.mkdir(parents=True)
        spec = {"algorithm": {"type": "Popular"}, "rollout": {"steps": STEPS, "gates": GATES}}
        document = {
            "apiVersion": "sluice.dev/v1alpha1",
            "kind": "RecommenderModel",
            "metadata": {"name": "m"},
        }
        self._model = folder / "model.yaml"
        self._model.write_text(yaml.safe_dump(document | {"spec": spec}))
        self._spec_hash = spec_hash(msgspec.convert(spec, ModelSpec))
        self.rollout = EmbeddedRollout(self.home.rollout(KEY))
        self.routing = EmbeddedRouting(self.home.model(KEY))
        self._catalog = EmbeddedCatalog(self.home.model(KEY))
        self._epoch = self._catalog.claim()
        self._files = Files(self.home.folder)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Pods, self._files))
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._server.serve_forever, args=(0.05,))]
        self._threads.append(threading.Thread(target=self._follow))
        self.published: list[Routing] = []

    def start(self) -> None:
        """Start pods and followers."""
        groups = {"stable-0": GroupName.STABLE, "canary-0": GroupName.CANARY}
        url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._files.set_pods(
            [LocalPod(name=name, group=group, url=f"{url}/{name}") for name, group in groups.items()]
        )
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop them."""
        self._stopping.set()
        self._server.shutdown()
        for thread in self._threads:
            thread.join()
        self._server.server_close()

    def cut(self, name: str) -> None:
        """Write and enter a sound snapshot."""
        folder = self.home.snapshots(KEY) / name
        made = write(
            folder, content(np.eye(4, dtype=np.float32)), provenance(name) | {"spec_hash": self._spec_hash}
        )
        self._catalog.commit(entry_of(folder, made, self._epoch))

    def controller(self, **dying: Any) -> Child:
        """Start a controller that looks every 20 ms; ``at`` lets it die at that durable write."""
        named = {
            "SLUICE_HOME": str(self.home.folder),
            "SLUICE_MODEL_FILE": str(self._model),
            "SLUICE_INTERVAL_SECONDS": "0.02",
        }
        return self._children.start("sluice_cli.controller", environment=named, **dying)

    def state(self) -> RolloutState:
        """Return the state as written last."""
        return self.rollout.read()[1]

    def wait_for_stable(self, name: str, timeout_s: float = 20.0) -> None:
        """Wait until a snapshot is stable and published so."""
        until(
            lambda: self.state().stable == name and self._published_stable() == name,
            f"{name} is stable",
            timeout_s,
        )

    def _published_stable(self) -> str | None:
        found = self.routing.read()
        return found.stable if found is not None else None

    def _follow(self) -> None:
        evidence, written = EmbeddedEvidence(self.home.model(KEY)), set[tuple[str, int]]()
        while not self._stopping.wait(0.005):
            routing = self.routing.read()
            if routing is None:
                continue
            if not self.published or _decided(self.published[-1]) != _decided(routing):
                self.published.append(routing)
            if routing.candidate is not None and (routing.rollout, routing.weight_epoch) not in written:
                written.add((routing.rollout, routing.weight_epoch))
                evidence.append(_rows(routing, routing.candidate))

    def has_told(self) -> bool:
        """Return whether the newest note of the state was recorded."""
        told, notes = self.rollout.notes(), self.state().notes
        return bool(told and notes) and told[-1].sequence == notes[-1].number

    def check(self) -> None:
        """Check what holds of any number of controllers, whatever became of them."""
        epochs = [each.epoch for each in self.published]
        assert epochs == sorted(epochs), "an old decision was published"
        assert len(set(epochs)) == len(epochs), "two decisions had one epoch"
        told = [each.note for each in self.rollout.notes()]
        assert [note.number for note in told] == list(range(1, len(told) + 1)), "a note is missing"
        kept = list(self.state().notes)
        assert [note.number for note in told[-len(kept) :]] == [note.number for note in kept], (
            "a note was not told"
        )
        assert told[-len(kept) :] == kept


def _decided(routing: Routing) -> tuple[object, ...]:
    return (
        routing.epoch,
        routing.rollout,
        routing.stable,
        routing.candidate,
        routing.weight,
        routing.weight_epoch,
    )


def _rows(routing: Routing, candidate: str) -> list[EvidenceRow]:
    """Return evidence that lets every gate pass."""
    n = 20_000
    better = Paired(
        n=n, candidate=0.2 * n, stable=0.1 * n, candidate_squared=0.1 * n, stable_squared=0.05 * n
    )
    key = {
        "rollout": routing.rollout,
        "snapshot": candidate,
        "at": time.time(),
        "weight_epoch": routing.weight_epoch,
    }
    counted = Requests(n=5_000, latency=(5_000,) + (0,) * (EVERY_BUCKET - 1))
    rows = [EvidenceRow(writer="paired/m", sequence="0:0-1", paired={"mrr": better}, **key)]
    return [
        *rows,
        EvidenceRow(writer="requests/p", sequence=str(routing.weight_epoch), requests=counted, **key),
    ]
