"""Buildah with a storage of its own below Sluice's cache: the machine's own images and containers are not touched."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.commands import ClusterError

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("SLUICE_CACHE") or "~/.cache/sluice").expanduser() / "images"
BASE = "docker.io/library/python:3.11-slim"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


class ImagesError(ClusterError):
    """An image could not be made; the message says why."""


def buildah(*arguments: str, quiet: bool = True) -> str:
    """Run one command of buildah and return what it prints; ``quiet=False`` lets the build be watched instead."""
    storage = ("--root", f"{FOLDER}/storage", "--runroot", f"{FOLDER}/run", "--storage-driver", "overlay")
    return contained("buildah", *storage, *arguments, quiet=quiet)


def contained(program: str, *arguments: str, quiet: bool = True) -> str:
    """Run a program that mounts things: they are gone with it, also if it is killed."""
    return run("unshare", "--mount", "--propagation=private", program, *arguments, quiet=quiet)


def run(program: str, *arguments: str, quiet: bool = True) -> str:
    """Run a program in the checkout and return what it prints; raises with the end of its complaint."""
    try:
        command = [program, *arguments]
        done = subprocess.run(command, cwd=ROOT, text=True, capture_output=quiet, check=False)
    except FileNotFoundError:
        raise ImagesError(f"{program} is not on the PATH") from None
    if done.returncode:
        complaint = (done.stderr or "see above").strip()[-2000:]
        raise ImagesError(f"{program} ended with exit code {done.returncode}: {complaint}")
    return (done.stdout or "").strip()


def build(
    dockerfile: Path | str, context: Path | str, *names: str, target: str = "", **arguments: str
) -> None:
    """Build a Dockerfile, reusing layers; only the build sees this machine's certificates."""
    options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    options += [f"--tag={name}" for name in names] + ([f"--target={target}"] if target else [])
    if Path(CERTIFICATES).exists():
        options.append(f"--volume={CERTIFICATES}:{CERTIFICATES}:ro")
    buildah(
        *(
            "bud",
            "--isolation=chroot",
            "--layers",
            "--pull-never",
            *options,
            "-f",
            str(dockerfile),
            str(context),
        ),
        quiet=False,
    )


def identity(name: str) -> str:
    """The id of an image, empty if there is none of that name."""
    return buildah("images", "--quiet", "--no-trunc", "--filter", f"reference={name}").partition("\n")[0]


def prune() -> None:
    """Delete what no name leads to: containers of builds that failed, layers of sources that have changed."""
    buildah("rm", "--all")
    buildah("rmi", "--prune")


@contextmanager
def container(name: str) -> Iterator[str]:
    """A container of an image, not running, for as long as the block lasts."""
    made = buildah("from", "--pull-never", name)
    try:
        yield made
    finally:
        buildah("rm", made)


@contextmanager
def locked() -> Iterator[None]:
    """One process at a time changes the storage; others wait. What one that was killed has left is deleted."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in FOLDER.glob("tmp*"):
            shutil.rmtree(left)
        yield
