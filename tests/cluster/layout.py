"""Where the cluster keeps its programs and its state, and which addresses are its own."""

from pathlib import Path
from typing import Final

from sluice_cli.backends import cache

NODE: Final = "node1"
BRIDGE: Final = "slc0"
POD_BRIDGE: Final = "slc1"
CGROUP: Final = "sluice-cluster"
POD_NETWORK: Final = "sluice-cluster"
"""The name in the CNI configuration; the plugins put it into every rule and file that they make."""

ADDRESS: Final = "10.99.0.1"
"""Of the node, on a bridge of its own: it must be no loopback address, and the same after a restart."""
API_PORT: Final = 6443
ETCD_PORT: Final = 12379
ETCD_PEER_PORT: Final = 12380
HTTP_PORT: Final = 8880
HTTPS_PORT: Final = 8843

POD_RANGE: Final = "10.98.0.0/16"
SERVICE_RANGE: Final = "10.96.0.0/16"
SERVICE_ADDRESS: Final = "10.96.0.1"
"""The first of the service range: pods reach the API server there."""


def root() -> Path:
    """Return the folder of everything; ``SLUICE_CACHE`` moves it."""
    return cache.folder().parent / "cluster"


def bin_folder() -> Path:
    """Return where the programs are."""
    return root() / "bin"


def state() -> Path:
    """Return where the node keeps what it knows: certificates, data, logs, kubeconfig."""
    return root() / "state"


def kubeconfig() -> Path:
    """Return the administrator's kubeconfig."""
    return state() / "kubeconfig"


def logs() -> Path:
    """Return where each program's log is."""
    return state() / "logs"


def containerd_root() -> Path:
    """Return where images are kept; it outlives ``down``, for an import takes minutes."""
    return root() / "containerd"


def containerd_socket() -> Path:
    """Return the socket of the cluster's own containerd."""
    return state() / "containerd.sock"
