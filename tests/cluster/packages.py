"""Debian's programs that the cluster needs, installed when missing; their services stay as they were: off."""

import os
import shutil
from pathlib import Path
from typing import Final

from cluster.commands import ClusterError, missing, run
from sluice_cli.backends import cache

_NODE: Final = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "conntrack": "conntrack",
    "nginx": "nginx",
    "gcc": "gcc",
    "openssl": "openssl",
    "mount": "mount",
}
_NODE_FILES: Final = {
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "/usr/lib/*/libc.a": "libc6-dev",
    "/etc/nginx/modules-enabled/50-mod-http-lua.conf": "libnginx-mod-http-lua",
}
_SERVICES: Final = ("containerd", "nginx")


def install() -> None:
    """Install what is missing; raises :class:`ClusterError` if that takes root or another system."""
    wanted = _missing()
    if not wanted:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ClusterError(
            f"missing: {', '.join(wanted)}; install these Debian packages, or run this as root there"
        )
    with cache.locked("apt.lock"):
        if wanted := _missing():
            _install(wanted)


def _missing() -> list[str]:
    packages = {_NODE[program] for program in missing(list(_NODE))}
    packages |= {package for file, package in _NODE_FILES.items() if not any(Path("/").glob(file[1:]))}
    return sorted(packages)


def _install(packages: list[str]) -> None:
    command = ("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages)
    try:
        _apt(*command)
    except ClusterError:
        _apt("apt-get", "update", "--quiet")  # a machine that never updated knows no package
        _apt(*command)
    if Path("/run/systemd/system").exists():
        for service in _SERVICES:
            if service in packages:
                run("systemctl", "disable", "--now", service)


def _apt(*command: str) -> None:
    # Debian starts a service with its package unless told not to; ours are the cluster's own.
    run(*command, DEBIAN_FRONTEND="noninteractive", RUNLEVEL="1")
