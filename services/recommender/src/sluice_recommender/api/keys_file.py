"""The file of API keys: read again when it changes, written whole and readable by its owner only."""

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import structlog

from sluice_recommender.api import keys
from sluice_recommender.api.keys import InvalidKeys, Keys

LOOK_S: Final = 1.0
_log = structlog.get_logger()


def read(path: Path) -> Keys:
    """Return the keys of a file, none if it does not exist; raises :class:`InvalidKeys` or OSError."""
    try:
        return keys.parse(path.read_bytes())
    except FileNotFoundError:
        return Keys()
    except InvalidKeys as error:
        raise InvalidKeys(f"{path}: {error}") from error


class KeysFile:
    """The keys of a file as they are now, looked at once a second at most.

    A file that is gone holds no keys. One that cannot be read changes nothing: the last good keys stay.
    Without a path there are no keys.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Raise :class:`InvalidKeys` or OSError if the file is there and cannot be read."""
        self._path, self._clock = path, clock
        self._next = clock() + LOOK_S
        self._lock = threading.Lock()
        self._seen = self._mark()
        self._keys = Keys() if path is None else read(path)

    @property
    def keys(self) -> Keys:
        """The keys."""
        if self._path is not None and self._clock() >= self._next and self._lock.acquire(blocking=False):
            try:
                self._look(self._path)
            finally:
                self._next = self._clock() + LOOK_S
                self._lock.release()
        return self._keys

    def _look(self, path: Path) -> None:
        mark = self._mark()
        if mark == self._seen:
            return
        try:
            self._keys = read(path)
        except OSError as error:
            _log.error("keys cannot be read, the last ones stay until they can", reason=str(error))
            return
        except InvalidKeys as error:
            self._seen = mark
            _log.error("keys cannot be read, the last ones stay", reason=str(error))
            return
        self._seen = mark
        _log.info("keys read", names=[key.name for key in self._keys.all])

    def _mark(self) -> tuple[int, int, int] | None:
        """Return what changes whenever the file does."""
        try:
            found = None if self._path is None else self._path.stat()
        except OSError:
            return None
        return found and (found.st_mtime_ns, found.st_size, found.st_ino)


@contextlib.contextmanager
def changing(path: Path) -> Iterator[list[keys.Key]]:
    """Give the keys of a file to be changed in place; written when the block ends without an error.

    One process at a time changes the files of a folder. Raises :class:`InvalidKeys` if there is no such folder,
    or as :func:`read` does.
    """
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidKeys(f"{path.parent} is no folder; make it first, or name another file") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        held = list(read(path).all)
        yield held
        _write(path, keys.serialize(held), folder)
    finally:
        os.close(folder)


def _write(path: Path, data: bytes, folder: int) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    os.fsync(folder)
