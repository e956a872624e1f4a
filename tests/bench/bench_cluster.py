"""On the real node: seconds from a pod's start to Ready, for faiss with 100,000 items x 64 and for a trainer.

Needs root and what ``make cluster-up`` needs. A release of the umbrella chart learns a small history first. Then the
operator is stopped, the stable pods are told to serve the large snapshot, and each workload is scaled from none to one,
again and again; the clock runs from that order, so it counts scheduling, the container's start and the probe's period.
"""

import argparse
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import report
from searching import Data

from e2e import ground, journey
from e2e.kubectl import Kubectl
from e2e.release import MODEL, Release, is_ready, values
from e2e.shop import Shop
from e2e.waiting import until
from sluice.snapshot.fidelity import fidelity
from sluice.snapshot.writer import write

ROWS, SNAPSHOT = 100_000, "large"
READY_S = 300.0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    times = parser.parse_args().times
    report.header(report.command())
    ground.cluster("up")
    ground.import_images()
    with ground.prepared() as place:
        release = Release(place.kubectl, place.helm)
        place.helm.install(values(place.backing, ground.HOST))
        journey.serve(release, Shop(place.ingress, ground.HOST, place.admin_key))
        place.kubectl("delete", "horizontalpodautoscaler", f"{MODEL}-faiss")
        place.kubectl("scale", "deployment", f"{ground.RELEASE}-operator", "--replicas=0")
        small = [start(place.kubectl, "deployment", f"{MODEL}-faiss") for _ in range(times)]
        size = offer(release)
        large = [start(place.kubectl, "deployment", f"{MODEL}-faiss") for _ in range(times)]
        assert [each["id"] for each in release.loaded()] == [SNAPSHOT]
        trainer = [start(place.kubectl, "statefulset", f"{MODEL}-trainer") for _ in range(times)]
    rows = [
        row(f"faiss, {len(journey.ITEMS)} x 16", small),
        row(f"faiss, {ROWS:,} x 64 ({size / 1e6:.0f} MB)", large),
        row(f"trainer, {journey.INTERACTIONS:,} interactions in its checkpoint", trainer),
    ]
    report.table(("pod", "start to Ready, s (median)", "worst"), rows)


def offer(release: Release) -> int:
    """Write the large snapshot into the claim and name it as stable; return its bytes."""
    claim = release.kubectl.get("persistentvolumeclaim", "sluice-snapshots")
    assert claim is not None
    volume = release.kubectl.get("persistentvolume", claim["spec"]["volumeName"])
    assert volume is not None
    folder = Path(volume["spec"]["hostPath"]["path"]) / release.key / SNAPSHOT
    content = Data(ROWS).content()
    provenance: dict[str, Any] = {"id": SNAPSHOT, "parent": None, "model": release.key, "algorithm": "GMF"}
    provenance |= {"parameters": {}, "spec_hash": "x", "seed": 0, "code_version": "0", "created": 0.0}
    provenance |= {"offsets": {}, "interactions": 0, "metrics": {}}
    made = write(folder, content, provenance, partial(fidelity, histories=content.histories))
    stable = {"snapshots": f'["{SNAPSHOT}"]', "epoch": "1000000"}
    release.kubectl.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{MODEL}-stable"}, "data": stable}
    )
    return made.bytes


def start(kubectl: Kubectl, kind: str, name: str) -> float:
    """Scale from none to one and return the seconds until that one is ready."""
    kubectl("scale", kind, name, "--replicas=0")
    selector = labels(kubectl, kind, name)
    until(lambda: not kubectl.items("pods", selector), "the pods are gone", READY_S)
    began = time.monotonic()
    kubectl("scale", kind, name, "--replicas=1")
    until(lambda: any(map(is_ready, kubectl.items("pods", selector))), f"{name} is ready", READY_S)
    return time.monotonic() - began


def labels(kubectl: Kubectl, kind: str, name: str) -> str:
    """Return the selector of a controller's pods."""
    found = kubectl.get(kind, name)
    assert found is not None
    return ",".join(f"{key}={value}" for key, value in found["spec"]["selector"]["matchLabels"].items())


def row(name: str, took: list[float]) -> tuple[str, str, str]:
    """Return a line of the table."""
    return name, f"{statistics.median(took):.1f}", f"{max(took):.1f}"


if __name__ == "__main__":
    main()
