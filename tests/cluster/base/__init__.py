"""The stand-in for ``python:3.11-slim``: Debian's packages, put together by debootstrap."""

import shutil
import tempfile
from pathlib import Path

from cluster import store

PACKAGES = "python3,python3-venv,ca-certificates"


def ensure() -> None:
    """Make the base image unless it is there; about two minutes, once."""
    if store.identity(store.BASE):
        return
    with tempfile.TemporaryDirectory(dir=store.FOLDER) as folder:
        context = Path(folder)
        _bootstrap(context / "rootfs")
        _pack(context / "rootfs", context / "rootfs.tar")
        shutil.rmtree(context / "rootfs")
        store.build(Path(__file__).with_name("Dockerfile"), context, store.BASE)


def _bootstrap(root: Path) -> None:
    """Install Debian into ``root``; its mounts are in a namespace of its own and end with it, killed or not."""
    command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(root)]
    store.contained(*command)


def _pack(root: Path, archive: Path) -> None:
    """Pack ``root`` without what debootstrap took from this machine and from Debian's servers."""
    excluded = ["./dev/*", "./proc/*", "./sys/*", "./debootstrap", "./etc/resolv.conf", "./etc/hostname"]
    excluded += ["./etc/apt/sources.list", "./var/lib/apt/lists/*", "./var/cache/apt/*", "./var/log/*"]
    options = [f"--exclude={name}" for name in excluded]
    store.run("tar", "--numeric-owner", *options, "-C", str(root), "-cf", str(archive), ".")
