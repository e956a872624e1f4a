"""Starting the node, program by program, and ending it without a trace."""

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from cluster import (
    certificates,
    cgroups,
    containers,
    daemons,
    firewall,
    ingress,
    layout,
    leftovers,
    network,
    node,
    packages,
    volumes,
)
from cluster.api import Api, ApiError, is_healthy
from cluster.commands import ClusterError
from cluster.plane import Plane
from cluster.programs import PROGRAMS, program
from cluster.target import CONTEXT
from sluice_cli.backends import cache

READY_S: Final = 120.0
_POLL_S: Final = 0.1
_KUBECONFIGS: Final = {
    "admin": "kubeconfig",
    "controller-manager": "controller-manager.kubeconfig",
    "scheduler": "scheduler.kubeconfig",
    "kubelet": "kubelet.kubeconfig",
    "proxy": "proxy.kubeconfig",
}
PLANE_PROGRAMS: Final = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
NODE_PROGRAMS: Final = ("containerd", "kubelet", "kube-proxy", "coredns", "nginx", "ingress")


def build() -> None:
    """Build every program and install every package that the node needs."""
    packages.install()
    for name in PROGRAMS:
        program(name)


def up() -> None:
    """Start what does not run, with the data of before if there are any, and wait until pods can run."""
    if os.geteuid() != 0:
        raise ClusterError("a node takes root: it makes bridges, mounts and control groups")
    build()
    with cache.locked("cluster.lock"):
        _refuse_beside_another()
        layout.state().mkdir(parents=True, exist_ok=True)
        network.up()
        firewall.accept_pods()
        cgroups.make()
        api = _start_plane()
        _start_node(api)
        volumes.offer(api)


def down(*, images_too: bool = False) -> list[str]:
    """End everything that is ours and return what could not be removed: nothing, unless something is wrong."""
    with cache.locked("cluster.lock"):
        remaining = leftovers.remove()
        for entry in layout.state().glob("*"):
            if entry.name != "logs" and not remaining:
                _delete(entry)
        if images_too and not remaining:
            _delete(layout.containerd_root())
    return remaining


def status() -> dict[str, int | None]:
    """Return the process id of each program, None for one that does not run."""
    return {name: daemons.pid(name) for name in (*PLANE_PROGRAMS, *NODE_PROGRAMS)}


def _refuse_beside_another() -> None:
    """Two clusters would write the same chains, and ``down`` could not tell whose they are."""
    if not network.is_changed() and (chains := firewall.found_chains()):
        raise ClusterError(
            f"iptables has another cluster's rules ({', '.join(chains[:3])}, …): end that cluster first; "
            "if it is gone, restart the machine or remove its chains"
        )


def _start_plane() -> Api:
    if not (layout.state() / "etcd").exists():
        _delete(layout.logs())  # the last cluster's tell nothing of a new one
    plane = Plane(layout.state(), layout.ADDRESS, layout.API_PORT, layout.ETCD_PORT, layout.ETCD_PEER_PORT)
    certificates.make(plane.certificates, plane.names())
    for client, file in (*_KUBECONFIGS.items(), ("admin", "dns.kubeconfig")):
        path = layout.state() / file
        if not path.exists():
            certificates.write_kubeconfig(path, plane.certificates, client, plane.url, CONTEXT)
    api = Api(layout.kubeconfig())
    _ensure("etcd", plane.etcd(), lambda: is_healthy(f"{plane.etcd_url}/health"))
    _ensure("kube-apiserver", plane.apiserver(alone=False), api.is_ready)
    controllers, scheduler = node.CONTROLLERS_PORT, node.SCHEDULER_PORT
    _ensure("kube-controller-manager", plane.controller_manager(controllers), _listens(controllers))
    _ensure("kube-scheduler", plane.scheduler(scheduler), _listens(scheduler))
    return api


def _start_node(api: Api) -> None:
    state = layout.state()
    config = containers.configure()
    _write(state / "kubelet.yaml", node.kubelet(state))
    _write(state / "proxy.yaml", node.proxy(state))
    upstream = node.has_upstream(Path("/etc/resolv.conf").read_text())
    _write(state / "Corefile", node.name_server(state, upstream))
    daemons.ensure("containerd", ["containerd", "--config", config], containers.answers)
    containers.ensure_pause()
    _ensure("kubelet", node.kubelet_arguments(state), _healthy(node.KUBELET_HEALTH_PORT, "healthz"))
    _ensure("kube-proxy", [f"--config={state / 'proxy.yaml'}"], _healthy(node.PROXY_HEALTH_PORT, "healthz"))
    _ensure("coredns", ["-conf", str(state / "Corefile")], _healthy(node.DNS_READY_PORT, "ready"))
    _start_ingress()
    _wait("the node did not become Ready", lambda: _is_node_ready(api))
    _wait("no service account was made", lambda: _exists(api, "namespaces/default/serviceaccounts/default"))


def _start_ingress() -> None:
    if daemons.pid("nginx") is None:
        daemons.stop("ingress")  # a new nginx knows no pods: a new translator tells it all
    daemons.ensure("nginx", ingress.prepare(), ingress.answers)
    if daemons.pid("ingress") is None:
        (ingress.folder() / "ready").unlink(missing_ok=True)
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-m", "cluster.ingress"]
    daemons.ensure("ingress", command, (ingress.folder() / "ready").exists, PYTHONPATH=tests)


def _ensure(name: str, arguments: list[str], ready: Callable[[], bool]) -> None:
    daemons.ensure(name, [program(name), *arguments], ready)


def _listens(port: int) -> Callable[[], bool]:
    return lambda: network.listens(layout.ADDRESS, port)


def _healthy(port: int, page: str) -> Callable[[], bool]:
    return lambda: is_healthy(f"http://{layout.ADDRESS}:{port}/{page}")


def _wait(complaint: str, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_S
    while not done():
        if time.monotonic() > deadline:
            raise ClusterError(f"{complaint} in {READY_S:.0f} s; the logs are in {layout.logs()}")
        time.sleep(_POLL_S)


def _is_node_ready(api: Api) -> bool:
    try:
        found: dict[str, Any] = api.get(f"/api/v1/nodes/{layout.NODE}")
    except ApiError:
        return False
    conditions = found.get("status", {}).get("conditions", [])
    taints = [taint["key"] for taint in found["spec"].get("taints", [])]
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and "node.kubernetes.io/not-ready" not in taints


def _exists(api: Api, path: str) -> bool:
    try:
        api.get(f"/api/v1/{path}")
    except ApiError:
        return False
    return True


def _write(file: Path, text: str) -> None:
    """kube-proxy ends when its settings are written, even to what they were."""
    if not file.exists() or file.read_text() != text:
        file.write_text(text)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
