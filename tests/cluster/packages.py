"""Debian's programs that the cluster needs, installed when missing; their services stay as they were: off."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cluster.commands import ClusterError, missing, run
from sluice_cli.backends import cache, tools
from sluice_cli.backends.tools import BackendUnavailable

IMAGES: Final = {
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "skopeo": "skopeo",
}
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
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "/usr/lib/*/libc.a": "libc6-dev",
    "/etc/nginx/modules-enabled/50-mod-http-lua.conf": "libnginx-mod-http-lua",
}
ALL: Final = _NODE | IMAGES
"""Programs, and files by their paths, to the packages that they are in."""
_SERVICES: Final = ("containerd", "nginx")


def install(needed: Mapping[str, str] = ALL) -> None:
    """Install what is missing; raises :class:`ClusterError` if that takes root or another system."""
    wanted = _missing(needed)
    if not wanted:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ClusterError(
            f"missing: {', '.join(wanted)}; install these Debian packages, or run this as root there"
        )
    with cache.locked("apt.lock"):
        if wanted := _missing(needed):
            _install(wanted)


def _missing(needed: Mapping[str, str]) -> list[str]:
    return sorted({package for name, package in needed.items() if not _is_there(name)})


def _is_there(name: str) -> bool:
    return any(Path("/").glob(name[1:])) if name.startswith("/") else not missing([name])


def _install(packages: list[str]) -> None:
    try:
        tools.install(*packages)
    except BackendUnavailable as error:
        raise ClusterError(str(error)) from error
    if Path("/run/systemd/system").exists():
        for service in _SERVICES:
            if service in packages:
                run("systemctl", "disable", "--now", service)
