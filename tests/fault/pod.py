"""A pod of ``sluice-faiss`` under test: a home with snapshots, the process, what it tells and what it takes."""

import json
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import urllib3
from harness import Child, Children, until

from sluice.embedded.home import Home
from sluice.embedded.models import EmbeddedCatalog
from sluice.encoder import MeanEncoder
from sluice.snapshot.content import UnitContent, VectorsContent
from sluice.snapshot.entry import entry_of
from sluice.snapshot.manifest import Manifest
from sluice.snapshot.writer import write

MODEL, SOURCE = "default.home", "shop"


def clustered(rows: int, width: int, seed: int = 1) -> np.ndarray:
    """Return vectors around a few hundred centres."""
    draw = np.random.default_rng(seed)
    centres = draw.standard_normal((200, width), dtype=np.float32)
    matrix = 0.3 * draw.standard_normal((rows, width), dtype=np.float32)
    matrix += centres[draw.integers(0, len(centres), rows)]
    return matrix


def content(matrix: np.ndarray) -> UnitContent:
    """Return a unit of items ``i0``, ``i1`` and so on."""
    part = VectorsContent(identifiers=[f"i{row}" for row in range(len(matrix))], matrix=matrix)
    return UnitContent(parts={"items": part}, encoder=MeanEncoder(matrix[0].copy(), decay=0.9))


def provenance(name: str) -> dict[str, Any]:
    """Return what a manifest says beside its content."""
    about = {"id": name, "parent": None, "model": MODEL, "algorithm": "GMF", "parameters": {}}
    more = {"spec_hash": "x", "seed": 0, "code_version": "0", "created": 0.0, "offsets": {}}
    return {**about, **more, "interactions": 0, "metrics": {}}


class Pod:
    """One home, one wanted file, one process at a time."""

    def __init__(self, folder: Path, children: Children, cache: Path | None = None) -> None:
        self.folder, self._children = folder, children
        self.home = Home(folder / "home")
        self.home.folder.mkdir(parents=True)
        self.home.log(SOURCE)  # a pod waits for the topics of its overlay
        self.store = self.home.snapshots(MODEL)
        self.catalog = EmbeddedCatalog(self.home.model(MODEL))
        self.epoch = self.catalog.claim()
        self.cache = cache or folder / "cache"
        self.process: Child | None = None
        self.http = urllib3.PoolManager(retries=False, maxsize=8)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def cut(self, name: str, matrix: np.ndarray) -> Path:
        """Write and enter a snapshot; return its folder."""
        made = write(self.store / name, content(matrix), provenance(name))
        return self.enter(name, made)

    def enter(self, name: str, made: Manifest) -> Path:
        """Enter what lies in the store under that name."""
        self.catalog.commit(entry_of(self.store / name, made, self.epoch))
        return self.store / name

    def want(self, *names: str) -> None:
        """Name the wanted snapshots."""
        temporary = self.folder / "wanted.tmp"
        temporary.write_text(json.dumps(names))
        temporary.rename(self.folder / "wanted")

    def start(self, *, at: int | None = None, count_file: Path | None = None, **settings: object) -> Child:
        """Start the process; ``at`` lets it die at that durable write, settings go in as ``SLUICE_*``."""
        named = {"home": self.home.folder, "model": MODEL, "source": SOURCE, "listen_port": self.port}
        named |= {"wanted_file": self.folder / "wanted", "cache": self.cache, **settings}
        environment = {f"SLUICE_{name.upper()}": str(value) for name, value in named.items()}
        dying = {} if at is None else {"at": at, "count_file": count_file, "whole": True}
        self.process = self._children.start("sluice_faiss", environment=environment, **dying)
        return self.process

    def call(self, method: str, path: str, document: object = None) -> SimpleNamespace:
        """Ask the pod; status 0 if it does not answer."""
        body = None if document is None else json.dumps(document).encode()
        try:
            answer = self.http.request(method, f"http://127.0.0.1:{self.port}{path}", body=body, timeout=5)
        except urllib3.exceptions.HTTPError as error:
            return SimpleNamespace(status=0, json={}, text=str(error))
        return SimpleNamespace(status=answer.status, json=json.loads(answer.data), text=answer.data.decode())

    def search(self, snapshot: str, item: str = "i1", k: int = 10) -> list[str] | None:
        """Return the ids found; None if the pod did not answer with items."""
        asked = {"snapshot": snapshot, "recent": [{"item_id": item}], "k": k}
        answer = self.call("POST", "/v1/search", asked)
        return [each["item_id"] for each in answer.json["items"]] if answer.status == 200 else None

    def snapshots(self) -> dict[str, Any]:
        """Return what ``GET /v1/snapshots`` tells; empty while the pod does not answer."""
        answer = self.call("GET", "/v1/snapshots")
        return answer.json if answer.status == 200 else {}

    def loaded(self) -> list[str]:
        """Return what every worker has loaded."""
        return [each["id"] for each in self.snapshots().get("loaded", ())]

    def refused(self) -> dict[str, str]:
        """Return the reasons by snapshot."""
        return {each["id"]: each["reason"] for each in self.snapshots().get("refused", ())}

    def is_ready(self) -> None:
        """Wait until the pod is ready."""
        until(lambda: self.call("GET", "/readyz").status == 200, f"ready: {self.says()}")

    def serves(self, *names: str) -> None:
        """Wait until exactly these are loaded."""
        until(lambda: self.loaded() == sorted(names), f"{names} serve", 60.0)

    def says(self) -> str:
        """Return the end of the process's log."""
        return self.process.says()[-2_000:] if self.process else ""

    def stop(self) -> int:
        """End the process; return its exit code."""
        self.http.clear()
        assert self.process is not None
        return self.process.stop()

    def workers(self) -> list[int]:
        """Return the process ids of the workers."""
        assert self.process is not None
        tasks = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in tasks.read_text().split()]

    def takes(self) -> dict[str, int]:
        """Return what the workers take together: PSS in bytes, file descriptors, mapped regions."""
        pids = self.workers()
        return {
            "pss": sum(_pss(pid) for pid in pids),
            "descriptors": sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids),
            "regions": sum(Path(f"/proc/{pid}/maps").read_text().count("\n") for pid in pids),
        }


def _pss(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return 1024 * int(line.split()[1])
    raise AssertionError("no Pss line")
