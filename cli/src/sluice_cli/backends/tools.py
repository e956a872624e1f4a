"""The programs that backends need from the machine, and how a missing one is told."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from sluice.errors import SluiceError
from sluice_cli.backends import cache

_LOCK_WAIT: Final = ("-o", "DPkg::Lock::Timeout=300")
"""A machine that has just started may be upgrading itself."""
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_FIXES: Final = {
    "java": "install a Java runtime 17 or newer (Debian: openjdk-17-jre-headless)",
    "javac": "install a JDK 17 or newer (Debian: openjdk-17-jdk-headless)",
    "mvn": "install Maven (Debian: maven)",
    "go": "install Go 1.23 or newer",
    "openssl": "install OpenSSL (Debian: openssl)",
    "redis-server": "install Redis (Debian: redis-server)",
}


class BackendUnavailable(SluiceError):
    """A backend cannot run on this machine; the message names what is missing and the fix."""


def find(tool: str) -> str:
    """Return the path of a program; raises :class:`BackendUnavailable` with what to install."""
    path = shutil.which(tool)
    if path is None:
        raise BackendUnavailable(f"{tool} is not on the PATH; {_FIXES[tool]}")
    return path


def run(*command: str, folder: Path | None = None, **environment: str) -> None:
    """Run a program to its end; raises :class:`BackendUnavailable` with the gist of its output if it fails."""
    path = find(command[0])
    done = subprocess.run(
        [path, *command[1:]],
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        told = f"{' '.join(command[:3])} failed with {done.returncode}: {_gist(done.stdout)}"
        raise BackendUnavailable(told)


def _gist(output: str) -> str:
    """Return the first and the last lines: Maven and Go tell the cause first, apt last."""
    lines = [line for line in map(str.strip, _COLOURS.sub("", output).splitlines()) if line]
    chosen = lines if len(lines) <= 4 else [*lines[:2], "…", *lines[-2:]]
    return " / ".join(line[:300] for line in chosen)


def redis_server() -> str:
    """Return the path of redis-server; as root on Debian it is installed when missing."""
    if shutil.which("redis-server") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        with cache.locked("apt.lock"):
            if shutil.which("redis-server") is None:
                install("redis-server")
    return find("redis-server")


def install(*packages: str) -> None:
    """Install Debian's packages, as root, while holding ``apt.lock``; raises :class:`BackendUnavailable`."""
    command = ("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages)
    try:
        _apt(*command)
    except BackendUnavailable:
        _apt("apt-get", "update", "--quiet")  # a machine that never updated knows no package
        _apt(*command)


def _apt(*command: str) -> None:
    # Debian starts a service with its package unless told not to; ours are the tests' own.
    run(*command, *_LOCK_WAIT, DEBIAN_FRONTEND="noninteractive", RUNLEVEL="1")
