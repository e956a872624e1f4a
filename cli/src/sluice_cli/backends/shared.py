"""One backend of a kind for all processes of a test session, started by the first that asks.

It is held by a process of its own (:mod:`sluice_cli.backends.hold`), because whoever asks first may leave
first. That one ends with the session's owner, however the owner ends, and the backend ends with it.
"""

import fcntl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from sluice_cli.backends.kafka import Kafka
from sluice_cli.backends.mongo import Mongo
from sluice_cli.backends.redis import Redis
from sluice_cli.backends.server import Server
from sluice_cli.backends.tools import BackendUnavailable

SERVERS: Final[dict[str, Callable[[Path], Server]]] = {"kafka": Kafka, "mongo": Mongo, "redis": Redis}


class State(msgspec.Struct, frozen=True):
    """What a holder tells: where its backend is, or why there is none."""

    where: str = ""
    error: str = ""


def where(server: Server) -> str:
    """Return what a client is given: Kafka's bootstrap address, or a URL."""
    return server.url if isinstance(server, Mongo | Redis) else server.address


def share(kind: str, folder: Path, owner: int) -> str:
    """Return where the session's backend of this kind is; ``folder`` is the session's, ``owner`` its process.

    Raises :class:`BackendUnavailable` with the reason, for each that asks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told = folder / f"{kind}.json"
    with (folder / f"{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            _hold(kind, folder, owner, told)
    state = msgspec.json.decode(told.read_bytes(), type=State)
    if state.error:
        raise BackendUnavailable(state.error)
    return state.where


def _hold(kind: str, folder: Path, owner: int, told: Path) -> None:
    """Start a holder; the command returns when it has told, and leaves it running."""
    log = folder / f"{kind}-holder.log"
    with log.open("wb") as stream:
        subprocess.run(
            [sys.executable, "-m", "sluice_cli.backends.hold", kind, str(folder), str(owner)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            check=False,
        )
    if not told.exists():
        raise BackendUnavailable(f"{kind}'s holder ended: {log.read_text(errors='replace')[-1_000:]}")
