"""Finding all that a cluster leaves on a machine, by name and place: a crash forgets what it started."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cluster import cgroups, daemons, firewall, layout, network
from cluster.commands import succeeds

_END_S: Final = 30.0
_ASK_S: Final = 5.0
_POLL_S: Final = 0.05
_CNI_CACHE: Final = Path("/var/lib/cni")
_CONTAINER_LOGS: Final = Path("/var/log/containers")
_SHIMS: Final = Path("/run/containerd")
_DEVICE_PLUGINS: Final = Path("/var/lib/kubelet/device-plugins")
_SHARED: Final = (
    _CNI_CACHE / "results",
    _CNI_CACHE,
    _CONTAINER_LOGS,
    *(_SHIMS / name for name in ("s", "fifo", "runc/k8s.io", "runc")),
    _SHIMS,
    _DEVICE_PLUGINS,
    _DEVICE_PLUGINS.parent,
)
"""Folders that the programs cannot be told to have elsewhere: removed when nothing of anyone is in them."""


def remove() -> list[str]:
    """End, unmount and remove everything of ours; return what is still there."""
    # kubelet would start containers again, and containerd should close its database.
    daemons.signal_to("kubelet", signal.SIGKILL)
    daemons.signal_to("nginx", signal.SIGTERM)
    cgroups.remove()
    daemons.signal_to("containerd", signal.SIGTERM)
    _wait(lambda: daemons.pid("containerd") is None, _ASK_S)
    _wait(_killed, _END_S)
    cgroups.remove()
    _unmount()
    network.down()
    if network.is_changed():  # else they are of another cluster
        firewall.clean()
    _remove_files()
    return found()


def found() -> list[str]:
    """Return what is there of ours, in words."""
    return [
        *(f"process {process}" for process in daemons.ours()),
        *(f"process {process} in a control group" for process in cgroups.processes()),
        *(f"control group {group}" for group in cgroups.leftovers()),
        *(f"mount {mount}" for mount in mounts(Path("/proc/self/mountinfo").read_text(), _places())),
        *(f"interface {link}" for link in network.leftovers()),
        *(f"iptables {rule}" for rule in (firewall.leftovers() if network.is_changed() else ())),
    ]


def mounts(mountinfo: str, places: list[Path]) -> list[str]:
    """Return the mount points below these folders, the last mounted first."""
    points = [line.split()[4].encode().decode("unicode_escape") for line in mountinfo.splitlines()]
    return [point for point in reversed(points) if any(Path(point).is_relative_to(place) for place in places)]


def _places() -> list[Path]:
    return [layout.state(), layout.containerd_root()]


def _killed() -> bool:
    processes = daemons.ours()
    for process in processes:
        daemons.kill(process)
    return not processes


def _unmount() -> None:
    # One over another at the same point takes another round.
    for _ in range(3):
        for point in mounts(Path("/proc/self/mountinfo").read_text(), _places()):
            succeeds("umount", "--lazy", point)


def _remove_files() -> None:
    """What the plugins, kubelet and containerd write into folders that they share with others."""
    for file in (_CNI_CACHE / "results").glob("*"):
        if str(layout.state()) in file.read_text():  # it names the network namespace, whose file is there
            file.unlink()
    for link in _CONTAINER_LOGS.glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(layout.logs()):
            link.unlink(missing_ok=True)
    listening = Path("/proc/net/unix").read_text()
    for socket in (*(_SHIMS / "s").glob("*"), _DEVICE_PLUGINS / "kubelet.sock"):
        if socket.is_socket() and str(socket) not in listening:
            socket.unlink(missing_ok=True)
    for folder in _SHARED:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _wait(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(_POLL_S)
