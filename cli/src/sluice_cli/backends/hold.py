"""Holds one backend for a test session: ``python -m sluice_cli.backends.hold KIND FOLDER OWNER``.

It tells where the backend is in ``FOLDER/KIND.json`` and returns; a process that it leaves behind waits for
the end of the process OWNER, then ends the backend and removes its data.
"""

import os
import select
import shutil
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from sluice.errors import SluiceError
from sluice_cli.backends import shared
from sluice_cli.backends.server import Server

_POLL_S: Final = 0.05


def main() -> None:
    """Leave a holder behind, once it has told."""
    kind, folder, owner = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    holder = os.fork()
    if not holder:
        hold(kind, folder, owner)
        return
    while not (folder / f"{kind}.json").exists() and os.waitpid(holder, os.WNOHANG) == (0, 0):
        time.sleep(_POLL_S)


def hold(kind: str, folder: Path, owner: int) -> None:
    """Start, tell, wait, end."""
    data = folder / kind
    server = shared.SERVERS[kind](data)
    try:
        if _tell(server, folder / f"{kind}.json"):
            wait_for_end(owner)
    finally:
        server.kill()  # its data go: there is nothing to save
        shutil.rmtree(data, ignore_errors=True)


def _tell(server: Server, told: Path) -> bool:
    """Start the backend and write where it is, or why it is not; return whether it runs."""
    try:
        server.start()
        state = shared.State(where=shared.where(server))
    except (SluiceError, OSError) as error:
        state = shared.State(error=str(error))
    new = told.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(state))
    new.replace(told)
    return not state.error


def wait_for_end(pid: int) -> None:
    """Return when the process is gone."""
    if sys.platform == "linux":
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        select.select([process], [], [])
        os.close(process)
        return
    while _is_there(pid):
        time.sleep(_POLL_S)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
