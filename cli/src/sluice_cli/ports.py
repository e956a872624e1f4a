"""Ports of this machine for the services of local platforms: free, and taken by one platform only.

A port is chosen some seconds before its service listens on it. Meanwhile it is reserved: byte N of one file per user
is locked by the process that will use port N, and whatever ends that process gives its ports back.
"""

import fcntl
import os
import random
import socket
import tempfile
from functools import cache
from pathlib import Path
from typing import Final, Self

from sluice.errors import InvalidSetting

HOST: Final = "127.0.0.1"
LOWEST: Final = 10_000
HIGHEST: Final = 14_999
"""Below what Linux gives to outgoing connections (32768 on) and what backends take (15000 on)."""
_TRIES: Final = 1_000
_TAKEN: Final[set[int]] = set()  # by this process, which its own locks do not keep out


class Reserved:
    """Ports of one platform; leaving the ``with`` block gives them back."""

    def __init__(self) -> None:
        self._ports: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for port in self._ports:
            _give_back(port)

    def take(self) -> int:
        """Return a port that is free and stays so for us; raises :class:`InvalidSetting` if there is none."""
        for _ in range(_TRIES):
            port = random.randint(LOWEST, HIGHEST)  # noqa: S311 - no secret
            if port not in _TAKEN and _reserve(port):
                if _refusal(port) is None:
                    self._ports.append(port)
                    return port
                _give_back(port)
        raise InvalidSetting(f"no port from {LOWEST} to {HIGHEST} is free; end what uses them")


def check_free(port: int) -> None:
    """Raise :class:`InvalidSetting` if something listens on ``port`` already."""
    if (refusal := _refusal(port)) is not None:
        raise InvalidSetting(
            f"port {port} cannot be used: {refusal}; stop what uses it or choose another with --port"
        )


def _refusal(port: int) -> str | None:
    try:
        bound(port).close()
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None


def bound(port: int, host: str = HOST) -> socket.socket:
    """Return a socket that holds ``port`` of ``host``; raises OSError if it cannot be had."""
    taken = socket.socket()
    try:
        taken.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as servers do: old connections do not matter
        taken.bind((host, port))
    except OSError:
        taken.close()
        raise
    return taken


def _reserve(port: int) -> bool:
    try:
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):  # either may say that another process has it
        return False
    _TAKEN.add(port)
    return True


def _give_back(port: int) -> None:
    fcntl.lockf(_reservations(), fcntl.LOCK_UN, 1, port)
    _TAKEN.discard(port)


@cache
def _reservations() -> int:
    """Return the file; it stays open, for closing it would give every port back."""
    path = Path(tempfile.gettempdir()) / f"sluice-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
