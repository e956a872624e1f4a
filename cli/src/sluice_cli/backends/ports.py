"""Ports of this machine that nobody listens on."""

import random
import socket
from contextlib import ExitStack
from typing import Final

from sluice_cli.ports import HOST as HOST  # servers are asked for it here
from sluice_cli.ports import bound

LOWEST: Final = 15_000
HIGHEST: Final = 31_999
"""Below what Linux gives to outgoing connections (32768 on), so that a server finds its port free again."""
_TRIES: Final = 200


def free(count: int) -> list[int]:
    """Return ``count`` different ports that can be bound now; someone else may still be faster."""
    found: list[int] = []
    with ExitStack() as held:
        for _ in range(_TRIES):
            if len(found) == count:
                return found
            port = random.randint(LOWEST, HIGHEST)  # noqa: S311 - no secret
            if (taken := _bound(port)) is not None:
                held.enter_context(taken)
                found.append(port)
    raise OSError(f"no {count} free ports in {LOWEST}-{HIGHEST}")


def is_free(port: int) -> bool:
    """Return whether a server could listen there now."""
    if (taken := _bound(port)) is None:
        return False
    taken.close()
    return True


def listens(port: int) -> bool:
    """Return whether someone accepts connections there."""
    try:
        with socket.create_connection((HOST, port), timeout=1.0):
            return True
    except OSError:
        return False


def _bound(port: int) -> socket.socket | None:
    try:
        return bound(port)
    except OSError:
        return None
