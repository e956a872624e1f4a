"""Pods on the real node: seconds from the order to have one instead of none until it is Ready, and until it works.

Needs what ``make e2e`` needs. A release of the umbrella chart learns a small history; then its operator is stopped and
each workload goes from none to one, again and again. A Faiss pod works when it answers a search from the snapshot that
new pods are told to load; a trainer, which is Ready before it has looked for a checkpoint, when it knows all that had
been learned. Scheduling, the container's start and the probes' 2 s are in it, and in the second figure a few tenths
in which kubectl asks. No image is fetched, and the snapshots' files have just been written.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import report
from searching import DIMENSION, Data

from cluster import lifecycle
from e2e import ground, journey
from e2e.ground import Ground
from e2e.release import MODEL, MODEL_MANIFEST, Release, name_of, values
from e2e.shop import Shop
from e2e.waiting import until
from sluice.mongo.database import MongoDatabase
from sluice.mongo.models import MongoCatalog
from sluice.snapshot.entry import entry_of
from sluice.snapshot.fidelity import fidelity
from sluice.snapshot.manifest import Manifest
from sluice.snapshot.writer import write
from sluice_cli.backends import cache

ROWS, LARGE = 100_000, "large"
OPERATOR = f"deployment/{ground.RELEASE}-operator"
FAISS, TRAINER = f"deployment/{MODEL}-faiss", f"statefulset/{MODEL}-trainer"
STARTED_S = 300


def main() -> None:
    """Print the table, or why there is none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    times = parser.parse_args().times
    if reason := ground.why_not():
        print(reason)
        return
    data = Data(ROWS)
    with node(), ground.prepared() as place:
        rows = measured(place, data, times)
    report.header(report.command())
    report.table(("pod", "Ready, s (median)", "worst", "works, s (median)", "worst"), rows)


@contextmanager
def node() -> Iterator[None]:
    """Have the node for ourselves, with the images of this tree; it stays up if it was up."""
    with cache.locked("e2e.lock"):
        was_up = None not in lifecycle.status().values()
        ground.cluster("up")
        try:
            ground.import_images()
            yield
        finally:
            if not was_up:
                ground.cluster("down")


def measured(place: Ground, data: Data, times: int) -> list[tuple[str, ...]]:
    """Return the lines of the table."""
    release, snapshot, learned = installed(place)
    small = partial(searches, release, snapshot, journey.ITEMS[0])
    knows = partial(has_learned, release, learned)
    dimension = MODEL_MANIFEST["spec"]["algorithm"]["parameters"]["dimension"]
    peer = [start(release, FAISS, small) for _ in range(times)]
    resumed = [start(release, TRAINER, knows) for _ in range(times)]
    anew = [start(release, TRAINER, knows, partial(forget, release)) for _ in range(times)]
    stop(release, TRAINER)  # it deletes snapshots that have no entry yet
    made = offer(release, place.backing.mongo_url, data)
    large = [start(release, FAISS, partial(searches, release, LARGE, "i0")) for _ in range(times)]
    return [
        row(f"faiss, {len(journey.ITEMS)} x {dimension}", peer),
        row(f"faiss, {ROWS:,} x {DIMENSION} ({made.bytes / 1e6:.0f} MB)", large),
        row(f"trainer, {learned:,} interactions in its checkpoint", resumed),
        row("trainer, the same in the log only", anew),
    ]


def installed(place: Ground) -> tuple[Release, str, int]:
    """Return a release without an operator, the snapshot it serves, and how many interactions it has learned."""
    release, chosen = Release(place.kubectl, place.helm), values(place.backing, ground.HOST)
    chosen["faiss"] |= {"autoscaling": {"enabled": False}}
    place.helm.install(chosen)
    snapshot = journey.serve(release, Shop(place.ingress, ground.HOST, place.admin_key))
    learned = journey.wait_until_learned(release, journey.INTERACTIONS)["interactions"]
    stop(release, OPERATOR)  # it would name the snapshot of its own choice to new pods
    return release, snapshot, learned


def offer(release: Release, mongo_url: str, data: Data) -> Manifest:
    """Write the large snapshot into the claim, enter it in the catalog, and have new pods load it."""
    content, folder = data.content(), volume(release, "sluice-snapshots") / release.key / LARGE
    provenance: dict[str, Any] = {"id": LARGE, "parent": None, "model": release.key, "algorithm": "GMF"}
    provenance |= {"parameters": {}, "spec_hash": "x", "seed": 0, "code_version": "0", "created": 0.0}
    provenance |= {"offsets": {}, "interactions": 0, "metrics": {}}
    made = write(folder, content, provenance, partial(fidelity, histories=content.histories))
    catalog = MongoCatalog(MongoDatabase(lambda: mongo_url, "sluice"), release.key)
    catalog.commit(entry_of(folder, made, catalog.epoch()))
    named = json.dumps({"data": {"snapshots": json.dumps([LARGE])}})
    release.kubectl("patch", "configmap", f"{MODEL}-stable", "--type=merge", "--patch", named)
    return made


def start(
    release: Release, workload: str, works: Callable[[], bool], before: Callable[[], None] = lambda: None
) -> tuple[float, float]:
    """Return the seconds until the pod is Ready and until it works; ``before`` is done while there is none."""
    stop(release, workload)
    before()
    began = time.monotonic()
    release.kubectl("scale", workload, "--replicas=1")
    release.kubectl("rollout", "status", workload, f"--timeout={STARTED_S}s", timeout_s=STARTED_S + 10)
    ready = time.monotonic() - began
    until(works, f"the pod of {workload} works", STARTED_S)
    return ready, time.monotonic() - began


def stop(release: Release, workload: str) -> None:
    """Have no pod, soon: there is nobody who must learn first that it goes."""
    component = workload.rpartition("-")[2]
    selector = f"--selector=app.kubernetes.io/component={component}"
    release.kubectl("scale", workload, "--replicas=0")

    def gone() -> bool:
        release.kubectl("delete", "pods", selector, "--grace-period=5", "--wait=false", "--ignore-not-found")
        return not release.every_pod(component)

    until(gone, f"the pods of {workload} are gone", STARTED_S)


def searches(release: Release, snapshot: str, item: str) -> bool:
    """Return whether the one Faiss pod has loaded this snapshot, no other, and finds ten items in it."""
    (pod,) = release.ready_pods("faiss", "stable")
    told = release.faiss_status(pod)
    assert [each["id"] for each in told.get("loaded", ())] == [snapshot], told
    path = f"/api/v1/namespaces/{release.kubectl.namespace}/pods/{name_of(pod)}:8081/proxy/v1/search"
    asked = json.dumps({"snapshot": snapshot, "recent": [{"item_id": item}], "k": 10})
    found = json.loads(release.kubectl("create", "--raw", path, "-f", "-", stdin=asked))
    return len(found["items"]) == 10


def has_learned(release: Release, interactions: int) -> bool:
    """Return whether the trainer knows so many interactions."""
    return bool(release.trainer_status().get("interactions") == interactions)


def forget(release: Release) -> None:
    """Empty the trainer's home."""
    for folder in volume(release, f"home-{MODEL}-trainer-0").iterdir():
        shutil.rmtree(folder)


def volume(release: Release, claim: str) -> Path:
    """Return the folder of this machine behind a claim."""
    bound = release.kubectl.get("persistentvolumeclaim", claim)
    assert bound is not None
    offered = release.kubectl.get("persistentvolume", bound["spec"]["volumeName"])
    assert offered is not None
    return Path(offered["spec"]["hostPath"]["path"])


def row(name: str, starts: list[tuple[float, float]]) -> tuple[str, ...]:
    """Return a line of the table."""
    figures = (
        f"{figure:.1f}" for taken in zip(*starts, strict=True) for figure in (median(taken), max(taken))
    )
    return name, *figures


if __name__ == "__main__":
    main()
