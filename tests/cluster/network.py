"""The node's address on a bridge of its own, and the kernel settings that a node changes."""

import json
import socket
from pathlib import Path
from typing import Any, Final

from cluster import layout
from cluster.commands import run, succeeds

_WANTED: Final = {
    "net/ipv4/ip_forward": "1",
    "net/bridge/bridge-nf-call-iptables": "1",
}
_CHANGED_BY_PROGRAMS: Final = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/vs/conntrack",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_be_liberal",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)
"""What kubelet and kube-proxy set when they start."""
_SYSCTLS: Final = Path("/proc/sys")


def up() -> None:
    """Give the node its address and switch forwarding on; what was set before is remembered first."""
    _remember()
    if not Path("/sys/class/net", layout.BRIDGE).exists():
        run("ip", "link", "add", layout.BRIDGE, "type", "bridge")
    run("ip", "address", "replace", f"{layout.ADDRESS}/32", "dev", layout.BRIDGE)
    run("ip", "link", "set", layout.BRIDGE, "up")
    if not (_SYSCTLS / "net" / "bridge").exists():
        run("modprobe", "br_netfilter")  # where it is built in there is nothing to load
    for name, value in _WANTED.items():
        (_SYSCTLS / name).write_text(value)


def is_changed() -> bool:
    """Return whether ``up`` has changed this machine and no ``down`` has followed: told before the first change."""
    return _file().exists()


def down() -> None:
    """Remove bridges and their interfaces, and set the kernel as it was."""
    for name in _links():
        succeeds("ip", "link", "delete", name)  # a pair's end goes with the other
    _restore()


def leftovers() -> list[str]:
    """Return the interfaces of ours that are still there."""
    return _links()


def listens(address: str, port: int) -> bool:
    """Return whether someone accepts connections there."""
    try:
        with socket.create_connection((address, port), timeout=1.0):
            return True
    except OSError:
        return False


def _links() -> list[str]:
    """Our bridges and what hangs on them, those first."""
    found: list[dict[str, Any]] = json.loads(run("ip", "-json", "link", "show"))
    bridges = (layout.BRIDGE, layout.POD_BRIDGE)
    ports = [link["ifname"] for link in found if link.get("master") in bridges]
    return [*ports, *(link["ifname"] for link in found if link["ifname"] in bridges)]


def _remember() -> None:
    """Only the first start sees what was set before us; a half start must not overwrite it."""
    file = _file()
    if file.exists():
        return
    paths = [_SYSCTLS / name for name in (*_WANTED, *_CHANGED_BY_PROGRAMS)]
    before = {str(path): path.read_text().strip() for path in paths if path.exists()}
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(json.dumps(before, indent=1))
    new.replace(file)


def _restore() -> None:
    """The file stays, for it says that rules are ours: it goes with the state, once nothing is left."""
    file = _file()
    if not file.exists():
        return
    for path, value in json.loads(file.read_text()).items():
        setting = Path(path)
        if setting.exists() and setting.read_text().strip() != value:
            setting.write_text(value)


def _file() -> Path:
    return layout.state() / "sysctls.json"
