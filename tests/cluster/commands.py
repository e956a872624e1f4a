"""Running a program to its end, with an error that tells what it said."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sluice.errors import SluiceError


class ClusterError(SluiceError):
    """The cluster cannot be had here; the message names what is missing and the fix."""


def run(*command: str | Path, text: str | None = None, folder: Path | None = None, **environment: str) -> str:
    """Return what the program printed; raises :class:`ClusterError` with the end of it if it fails."""
    if missing([str(command[0])]):
        raise ClusterError(f"{command[0]} is not on the PATH")
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=os.environ | environment,
        input=text if text is not None else "",
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise ClusterError(f"{_name(command)} failed with {done.returncode}: {said[-2_000:]}")
    return done.stdout


def succeeds(*command: str | Path) -> bool:
    """Return whether the program ends with 0; what it says is dropped."""
    done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode == 0


def missing(programs: Sequence[str]) -> list[str]:
    """Return those that are not on the PATH."""
    return [program for program in programs if shutil.which(program) is None]


def _name(command: Sequence[str | Path]) -> str:
    return " ".join([Path(command[0]).name, *map(str, command[1:4])])
