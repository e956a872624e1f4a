"""An API server with its etcd and nothing else, for tests that talk to a real one.

It takes no root rights, free ports and a temporary folder; both processes end with the process that started
them, even if that is killed. There are no controllers unless asked for: a namespace that is deleted stays
Terminating, owner references delete nothing and no service account is made.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from cluster import api, certificates
from cluster.commands import ClusterError
from cluster.plane import Plane
from cluster.programs import program
from sluice_cli.backends import ports
from sluice_cli.backends.process import Process

CONTEXT: Final = "sluice-control-plane"
READY_S: Final = 90.0
_TRIES: Final = 3
_POLL_S: Final = 0.05


@contextmanager
def control_plane(*, controllers: bool = False) -> Iterator[Path]:
    """Run a control plane and yield the path of its administrator's kubeconfig; ``controllers`` adds theirs."""
    with tempfile.TemporaryDirectory(prefix="sluice-plane-") as temporary, ExitStack() as running:
        yield _started(Path(temporary), controllers, running)


def _started(folder: Path, controllers: bool, running: ExitStack) -> Path:
    """Someone else may take a port between choosing and listening; then others are tried."""
    for trial in range(1, _TRIES + 1):
        chosen = ports.free(4)
        plane = Plane(folder / f"{trial}", "127.0.0.1", *chosen[:3])
        with ExitStack() as attempt:
            try:
                config = _start(plane, chosen[3] if controllers else 0, attempt)
            except ClusterError:
                if trial == _TRIES:
                    raise
            else:
                running.push(attempt.pop_all())
                return config
    raise AssertionError("the last try returns or raises")


def _start(plane: Plane, controllers_port: int, running: ExitStack) -> Path:
    certificates.make(plane.certificates, plane.names())
    config = plane.folder / "kubeconfig"
    certificates.write_kubeconfig(config, plane.certificates, "admin", plane.url, CONTEXT)
    _run(plane, "etcd", plane.etcd(), lambda: api.is_healthy(f"{plane.etcd_url}/health"), running)
    client = api.Api(config)
    _run(plane, "kube-apiserver", plane.apiserver(alone=True), client.is_ready, running)
    if controllers_port:
        theirs = plane.folder / "controller-manager.kubeconfig"
        certificates.write_kubeconfig(theirs, plane.certificates, "controller-manager", plane.url, CONTEXT)
        arguments = plane.controller_manager(controllers_port)
        _run(plane, "kube-controller-manager", arguments, lambda: ports.listens(controllers_port), running)
    return config


def _run(
    plane: Plane, name: str, arguments: list[str], ready: Callable[[], bool], running: ExitStack
) -> None:
    process = Process(plane.folder / f"{name}.log")
    process.start([str(program(name)), *arguments], plane.folder)
    running.callback(process.kill)  # its data go: there is nothing to save
    deadline = time.monotonic() + READY_S
    while not ready():
        if not process.running or time.monotonic() > deadline:
            raise ClusterError(f"{name} did not get ready: {process.last_words()}")
        time.sleep(_POLL_S)
