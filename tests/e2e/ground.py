"""The node with images, servers beside it and a namespace: what a release is installed on, made and taken away."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cluster import containers, images, layout, programs
from cluster.target import target
from e2e import backing
from e2e.backing import Backing
from e2e.helm import Helm
from e2e.kubectl import Kubectl, run
from e2e.waiting import until

ROOT = Path(__file__).parents[2]
NAMESPACE = "sluice-e2e"
RELEASE = "sluice"
HOST = "recommendations.sluice.test"
CRDS = ("recommendermodels.sluice.dev", "indexsnapshots.sluice.dev")
UP_S = 1_800.0
"""What ``up`` may take where every program must be built first."""
GONE_S = 120.0


class Ground(NamedTuple):
    """What a release needs: the cluster, the servers, a key for the API, and the chart in one piece."""

    kubectl: Kubectl
    helm: Helm
    backing: Backing
    admin_key: str

    @property
    def ingress(self) -> str:
        """Where the cluster's ingress controller listens."""
        return f"http://{layout.ADDRESS}:{layout.HTTP_PORT}"


def why_not() -> str:
    """Return why there can be no node here; nothing if there can."""
    if sys.platform != "linux":
        return "a node needs Linux"
    if not target().is_ours:
        return "servers and images are those of the node of make cluster-up: unset KUBECONFIG"
    return "" if os.geteuid() == 0 else "a node needs root"


def cluster(*arguments: str, timeout_s: float = UP_S) -> str:
    """Run ``python -m cluster`` as make does."""
    return run(
        sys.executable, "-m", "cluster", *arguments, timeout_s=timeout_s, PYTHONPATH=str(ROOT / "tests")
    )


def import_images() -> None:
    """Build the images of this tree, in this version and the next, and give the node what it lacks."""
    built = [*images.build().values(), *images.build_next().values()]
    images.import_into(containers, built)


@contextmanager
def prepared() -> Iterator[Ground]:
    """Make everything that a release needs, and remove it at the end, whatever has become of the release."""
    folder = Path(tempfile.mkdtemp(prefix="sluice-e2e-"))
    kubectl = Kubectl([str(programs.program("kubectl"))], layout.kubeconfig(), NAMESPACE)
    _remove(kubectl)  # what a session that was killed has left
    try:
        with backing.servers(folder / "servers", layout.ADDRESS) as servers:
            key = _prepare(kubectl, servers, folder)
            chart = whole_chart(folder / "charts")
            helm = Helm(programs.program("helm"), layout.kubeconfig(), NAMESPACE, RELEASE, chart)
            try:
                yield Ground(kubectl, helm, servers, key)
            finally:
                _remove(kubectl)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def whole_chart(folder: Path) -> Path:
    """Return a copy of the umbrella chart with its dependencies inside."""
    shutil.copytree(ROOT / "charts", folder, ignore=shutil.ignore_patterns("__pycache__", "*.tgz"))
    for name in ("operator", "trainer", "faiss", "recommender", "sluice"):
        run(programs.program("helm"), "dependency", "update", "--skip-refresh", folder / name)
    return folder / "sluice"


def _prepare(kubectl: Kubectl, servers: Backing, folder: Path) -> str:
    """Make namespace and Secrets, and offer empty volumes; return the key that may change items."""
    key = backing.new_key(folder / "keys.json", "e2e", "admin")
    cluster("volumes")
    kubectl.apply(
        backing.namespace(NAMESPACE),
        backing.secret("sluice-mongo", url=servers.mongo_url),
        backing.secret("sluice-redis", url=servers.redis_url),
        backing.secret("sluice-keys", **{"keys.json": (folder / "keys.json").read_text()}),
    )
    return key


def _remove(kubectl: Kubectl) -> None:
    """Remove the namespace with all that is in it, and the definitions that the release keeps."""
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false")
    until(lambda: not kubectl.get("namespace", NAMESPACE), f"namespace {NAMESPACE} is gone", GONE_S)
    for crd in CRDS:
        found = kubectl.get("customresourcedefinition", crd)
        owner = (found or {}).get("metadata", {}).get("annotations", {})
        if owner.get("meta.helm.sh/release-namespace") == NAMESPACE:
            kubectl("delete", "customresourcedefinition", crd)
