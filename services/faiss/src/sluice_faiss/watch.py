"""Reads the files that name the wanted snapshots, and again only when they have changed."""

import os
from pathlib import Path
from typing import Final

import msgspec
import structlog

from sluice_faiss.wanted import Wanted, parse

LATER_S: Final = 1e-3
_log = structlog.get_logger()
_Signature = tuple[int, int, int]


class ListFile:
    """One file. What cannot be read as a list leaves the last list in force; absent or empty, it names none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._signature: _Signature | None = None
        self._failure: tuple[_Signature | None, str] | None = None
        self._list: Wanted | None = None

    def __call__(self) -> Wanted | None:
        """Return the list as it is now; None if there is none, which an empty list (``[]``) is not."""
        signature: _Signature | None = None
        try:
            status = self._path.stat()
            signature = (status.st_mtime_ns, status.st_ino, status.st_size)
            if signature != self._signature:
                text = self._path.read_text()
                found = parse(text)
                self._list = msgspec.structs.replace(found, at=status.st_mtime) if text.strip() else None
                self._signature = signature
            self._failure = None
        except (FileNotFoundError, NotADirectoryError):
            self._failure = self._signature = self._list = None
        except (OSError, ValueError) as error:
            self._complain((signature, str(error)))
        return self._list

    def _complain(self, failure: tuple[_Signature | None, str]) -> None:
        """Log a failure when it begins, not at every look."""
        if failure != self._failure:
            path = os.fspath(self._path)
            _log.warning("wanted file unreadable, the last list stays", path=path, error=failure[1])
        self._failure = failure


class Desired:
    """What ``wanted`` names, or ``stable`` while that names no list; else nothing.

    A pod's annotation comes through the downward API, where one that is missing is an empty file.
    """

    def __init__(self, wanted: Path, stable: Path | None = None) -> None:
        self._files = [ListFile(path) for path in (wanted, stable) if path is not None]
        self._desired = Wanted()

    def __call__(self) -> Wanted:
        """Return what is wanted now; another list than before is a later one."""
        found = next((named for file in self._files if (named := file()) is not None), Wanted())
        before = self._desired
        if (found.ids, found.unusable) != (before.ids, before.unusable) or found.at > before.at:
            self._desired = msgspec.structs.replace(found, at=max(found.at, before.at + LATER_S))
        return self._desired
