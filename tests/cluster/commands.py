"""Running a program to its end, with an error that tells what it said."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cluster import layout
from sluice.errors import SluiceError

_UNPROXIED: Final = (layout.SERVICE_RANGE, layout.POD_RANGE, layout.ADDRESS, "127.0.0.1", "localhost")


class ClusterError(SluiceError):
    """The cluster cannot be had here; the message names what is missing and the fix."""


def run(
    *command: str | Path,
    text: str | None = None,
    folder: Path | None = None,
    timeout_s: float | None = None,
    **environment: str,
) -> str:
    """Return what the program printed; raises :class:`ClusterError` with the end of it if it fails."""
    if missing([str(command[0])]):
        raise ClusterError(f"{command[0]} is not on the PATH")
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=unproxied(os.environ) | environment,
        input=text if text is not None else "",
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
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


def unproxied(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with what keeps the cluster's addresses from a proxy that is set in it."""
    lists = {name: environment.get(name, "") for name in ("NO_PROXY", "no_proxy")}
    either = next(filter(None, lists.values()), "")  # programs read the first that is set, in either order
    return dict(environment) | {name: _with_ours(given or either) for name, given in lists.items()}


def missing(programs: Sequence[str]) -> list[str]:
    """Return those that are not on the PATH."""
    return [program for program in programs if shutil.which(program) is None]


def _with_ours(given: str) -> str:
    named = [each for each in given.split(",") if each]
    return ",".join([*named, *(each for each in _UNPROXIED if each not in named)])


def _name(command: Sequence[str | Path]) -> str:
    return " ".join([Path(command[0]).name, *map(str, command[1:4])])
