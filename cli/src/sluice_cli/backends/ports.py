"""Ports of this machine that nobody listens on."""

import random
import socket
from contextlib import ExitStack
from typing import Final

from sluice_cli.backends.tools import BackendUnavailable
from sluice_cli.ports import HOST as HOST  # servers are asked for it here
from sluice_cli.ports import bound

LOWEST: Final = 15_000
HIGHEST: Final = 31_999
"""Below what Linux gives to outgoing connections (32768 on), so that a server finds its port free again."""
_TRIES: Final = 200


def free(count: int, host: str = HOST) -> list[int]:
    """Return ``count`` different ports that can be bound now; someone else may still be faster."""
    found: list[int] = []
    with ExitStack() as held:
        for _ in range(_TRIES):
            if len(found) == count:
                return found
            port = random.randint(LOWEST, HIGHEST)  # noqa: S311 - no secret
            if (taken := _bound(port, host)) is not None:
                held.enter_context(taken)
                found.append(port)
    raise OSError(f"no {count} free ports in {LOWEST}-{HIGHEST}")


def check_is_ours(host: str) -> None:
    """Raise :class:`BackendUnavailable` unless ``host`` is an address of this machine."""
    try:
        bound(0, host).close()
    except OSError as error:
        raise BackendUnavailable(
            f"{host} cannot be listened on ({(error.strerror or str(error)).lower()}); give an address of this machine"
        ) from None


def is_free(port: int, host: str = HOST) -> bool:
    """Return whether a server could listen there now."""
    if (taken := _bound(port, host)) is None:
        return False
    taken.close()
    return True


def listens(port: int, host: str = HOST) -> bool:
    """Return whether someone accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False


def _bound(port: int, host: str) -> socket.socket | None:
    try:
        return bound(port, host)
    except OSError:
        return None
