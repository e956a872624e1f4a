"""Reads the wanted file, and again only when it has changed."""

import os
from pathlib import Path

import msgspec
import structlog

from sluice_faiss.wanted import Wanted, parse

_log = structlog.get_logger()
_Signature = tuple[int, int, int]


class WantedFile:
    """A file that cannot be read as a list leaves the last list in force; an absent one wants nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._signature: _Signature | None = None
        self._failure: tuple[_Signature | None, str] | None = None
        self._wanted = Wanted()

    def __call__(self) -> Wanted:
        """Return what is wanted now."""
        signature: _Signature | None = None
        try:
            status = self._path.stat()
            signature = (status.st_mtime_ns, status.st_ino, status.st_size)
            if signature != self._signature:
                found = parse(self._path.read_text())
                self._wanted = msgspec.structs.replace(found, at=status.st_mtime)
                self._signature = signature
            self._failure = None
        except FileNotFoundError:
            self._failure = None
            if self._signature is not None:
                self._signature, self._wanted = None, Wanted(at=self._wanted.at + 1e-3)  # newer than the list
        except (OSError, ValueError) as error:
            self._complain((signature, str(error)))
        return self._wanted

    def _complain(self, failure: tuple[_Signature | None, str]) -> None:
        """Log a failure when it begins, not at every look."""
        if failure != self._failure:
            path = os.fspath(self._path)
            _log.warning("wanted file unreadable, the last list stays", path=path, error=failure[1])
        self._failure = failure
