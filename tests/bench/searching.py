"""A pod of ``sluice-faiss`` as the search benches run it, over clustered vectors with what users ask of them."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import running
import urllib3

from sluice.embedded.home import Home
from sluice.embedded.models import EmbeddedCatalog
from sluice.encoder import Matrix, RidgeEncoder
from sluice.snapshot.content import Histories, UnitContent, VectorsContent
from sluice.snapshot.entry import entry_of
from sluice.snapshot.fidelity import fidelity
from sluice.snapshot.manifest import Manifest
from sluice.snapshot.writer import write

MODEL, SOURCE, DIMENSION = "bench.home", "shop", 64
RECENT, EXCLUDED, ASKED = 20, 200, 500


class Data:
    """Vectors around 1,000 centres of falling popularity; users whose 1 to 20 items lie around three of them."""

    def __init__(self, rows: int, seed: int = 1) -> None:
        draw = np.random.default_rng(seed)
        centres = draw.standard_normal((1_000, DIMENSION), dtype=np.float32)
        mass = np.arange(1, 1_001) ** -0.7
        mass /= mass.sum()
        labels = draw.choice(1_000, rows, p=mass)
        self.matrix: Matrix = 0.6 * draw.standard_normal((rows, DIMENSION), dtype=np.float32)
        self.matrix += centres[labels]
        self.matrix *= 0.3 + 0.1 * draw.random((rows, 1), dtype=np.float32)
        order = np.argsort(labels, kind="stable")
        starts = np.searchsorted(labels[order], np.arange(1_001))
        self.recent = np.full((ASKED, RECENT), -1, dtype=np.int32)
        for user in range(ASKED):
            tastes = draw.choice(1_000, 3, p=mass)
            for place in range(draw.integers(1, RECENT + 1)):
                first, end = starts[(taste := draw.choice(tastes))], starts[taste + 1]
                self.recent[user, place] = order[draw.integers(first, end)] if end > first else -1
        self.excluded = (rows * draw.random((ASKED, EXCLUDED)) ** 3).astype(np.int64)  # the popular ones more

    def content(self) -> UnitContent:
        """Return the unit to cut."""
        sample = self.matrix[:100_000]
        gram = sample.T @ sample * np.float32(len(self.matrix) / len(sample))
        encoder = RidgeEncoder(
            self.matrix.mean(axis=0), gram, decay=0.9, ridge=1.0, background=10.0 / len(self.matrix)
        )
        part = VectorsContent(identifiers=[f"i{row}" for row in range(len(self.matrix))], matrix=self.matrix)
        asked = Histories(self.recent[:256], np.ones((256, RECENT), dtype=np.float32))
        return UnitContent(parts={"items": part}, encoder=encoder, histories=asked)

    def asked(self, snapshot: str) -> list[dict[str, Any]]:
        """Return the search of each user: recent items, 200 to leave out, ten to find."""
        return [
            {
                "snapshot": snapshot,
                "recent": [{"item_id": f"i{row}"} for row in recent if row >= 0],
                "exclude": [f"i{row}" for row in excluded],
                "k": 10,
            }
            for recent, excluded in zip(self.recent.tolist(), self.excluded.tolist(), strict=True)
        ]

    def targets(self, snapshot: str) -> list[str]:
        """Return the same for :mod:`load`."""
        return [f"/v1/search\t{json.dumps(each)}" for each in self.asked(snapshot)]


class Pod:
    """A home, and a pod with one worker of four threads over it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, Home(folder / "home")
        self.home.folder.mkdir(parents=True)
        self.home.log(SOURCE)
        self.catalog = EmbeddedCatalog(self.home.model(MODEL))
        self.epoch = self.catalog.claim()
        self.http = urllib3.PoolManager(retries=False)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    def cut(self, name: str, content: UnitContent, parent: str | None = None) -> tuple[Manifest, float]:
        """Write, measure and enter a snapshot as the trainer does; return its manifest and the seconds."""
        provenance: dict[str, Any] = {"id": name, "parent": parent, "model": MODEL, "algorithm": "GMF"}
        provenance |= {"parameters": {}, "spec_hash": "x", "seed": 0, "code_version": "0", "created": 0.0}
        provenance |= {"offsets": {}, "interactions": 0, "metrics": {}}
        store, began = self.home.snapshots(MODEL), time.perf_counter()
        measure = partial(fidelity, histories=content.histories)
        made = write(store / name, content, provenance, measure, store / parent if parent else None)
        self.catalog.commit(entry_of(store / name, made, self.epoch))
        return made, time.perf_counter() - began

    def want(self, *names: str) -> float:
        """Name the wanted snapshots, wait until exactly these serve; return the seconds."""
        began = time.perf_counter()
        temporary = self.folder / "wanted.tmp"
        temporary.write_text(json.dumps(names))
        temporary.rename(self.folder / "wanted")
        running.eventually(lambda: self._loaded() == sorted(names), f"{names} serve")
        return time.perf_counter() - began

    def _loaded(self) -> list[str] | None:
        try:
            answer = self.http.request("GET", f"http://127.0.0.1:{self.port}/v1/snapshots", timeout=5)
        except urllib3.exceptions.HTTPError:
            return None
        return [each["id"] for each in answer.json()["loaded"]] if answer.status == 200 else None

    @contextmanager
    def serving(self, *names: str) -> Iterator[None]:
        """Run the process, these snapshots serving."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
        environment |= {"SLUICE_HOME": str(self.home.folder), "SLUICE_MODEL": MODEL, "SLUICE_SOURCE": SOURCE}
        environment |= {"SLUICE_LISTEN_PORT": str(self.port), "SLUICE_CACHE": str(self.folder / "cache")}
        environment |= {"SLUICE_WANTED_FILE": str(self.folder / "wanted"), "SLUICE_LOG_LEVEL": "warning"}
        process = subprocess.Popen([sys.executable, "-m", "sluice_faiss"], env=environment)
        try:
            self.want(*names)
            yield
        finally:
            self.http.clear()
            process.terminate()
            process.wait()
