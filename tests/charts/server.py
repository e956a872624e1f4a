"""A real API server for the checks: what it would say of rendered objects, and the schemas of its kinds."""

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import yaml

from charts import openapi
from charts.objects import Object
from charts.rendering import crds, tool
from cluster import layout
from cluster.control_plane import control_plane
from cluster.programs import KUBERNETES

MONITORING = Path(__file__).parent / "monitoring.yaml"
"""Kinds of the Prometheus operator, which a plain API server does not know."""

PRIORITY: Object = {
    "apiVersion": "scheduling.k8s.io/v1",
    "kind": "PriorityClass",
    "metadata": {"name": "high"},
    "value": 1000,
}
"""The cluster's own, which some files of values name: without it no pod of theirs would be let in."""


class Server(NamedTuple):
    """``kubectl`` against one API server."""

    kubeconfig: Path

    def kubectl(self, *arguments: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl with ``text`` on its standard input; a failure is the caller's to judge."""
        command = [tool("kubectl"), f"--kubeconfig={self.kubeconfig}", *map(str, arguments)]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=120)

    def ask(self, *arguments: str | Path, text: str | None = None) -> str:
        """Return what kubectl prints; its message is the error otherwise."""
        done = self.kubectl(*arguments, text=text)
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def server() -> Iterator[Server]:
    """Start etcd and a kube-apiserver that knows our kinds and the Prometheus operator's."""
    with control_plane() as kubeconfig:
        started = Server(kubeconfig)
        present = yaml.safe_dump_all([*crds().values(), *monitoring(), PRIORITY])
        started.ask("apply", "-f", "-", text=present)
        started.ask("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
        yield started


def monitoring() -> list[Object]:
    """Return the definitions of the Prometheus operator's kinds as far as our charts use them."""
    return list(yaml.safe_load_all(MONITORING.read_text()))


def schemas(start: Callable[[], Server]) -> Path:
    """Return the folder of schemas that the cache holds for this version of Kubernetes, made if it has none."""
    maker = hashlib.sha256(Path(openapi.__file__).read_bytes()).hexdigest()[:12]
    made = layout.root() / f"schemas-{KUBERNETES}-{maker}"
    if not made.is_dir():
        documents = _documents(start())
        made.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=made.parent) as temporary:
            openapi.write(Path(temporary) / "new", documents)
            if not made.is_dir():  # another process may have been first
                (Path(temporary) / "new").rename(made)
    return made


def _documents(running: Server) -> Sequence[Object]:
    paths = json.loads(running.ask("get", "--raw", "/openapi/v3"))["paths"]
    wanted = [found["serverRelativeURL"] for path, found in paths.items() if _built_in(path)]
    return [json.loads(running.ask("get", "--raw", url)) for url in wanted]


def _built_in(path: str) -> bool:
    group = path.split("/")[1] if path.startswith("apis/") and path.count("/") == 2 else ""
    return path == "api/v1" or (bool(group) and ("." not in group or group.endswith(".k8s.io")))
