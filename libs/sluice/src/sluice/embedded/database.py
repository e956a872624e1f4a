"""A SQLite database that several processes and threads share."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from sluice.errors import StorageUnavailable

BUSY_TIMEOUT_S: Final = 10.0
_RETRY_S: Final = 0.01


class Database:
    """One file, one connection per thread, opened when first used (so never across a fork).

    Writes are durable when :meth:`writing` ends (WAL, synchronous FULL).
    """

    def __init__(self, path: Path, schema: str) -> None:
        self.path, self._schema = path, schema
        self._local = threading.local()

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection, in autocommit mode."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._open()
        return connection

    def _open(self) -> sqlite3.Connection:
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                return self._connect()
            except (sqlite3.Error, OSError) as error:
                if not _is_busy(error) or time.monotonic() > deadline:
                    message = f"{self.path.name} cannot be opened: {error}; check the disk"
                    raise StorageUnavailable(message) from error
                time.sleep(_RETRY_S)

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(self._schema)
        except BaseException:
            connection.close()
            raise
        return connection

    def read(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Return all rows of a query; raises :class:`StorageUnavailable` if the file cannot be read."""
        try:
            return self.connection.execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            raise StorageUnavailable(f"{self.path.name} cannot be read: {error}; check the disk") from error

    def read_one(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """Return the first row of a query, or None."""
        found = self.read(statement, parameters)
        return found[0] if found else None

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One write transaction: durable at the end, rolled back if the body raises.

        Within another one of this thread it is part of that: all or nothing of both.
        """
        connection = self.connection
        if connection.in_transaction:
            yield connection
            return
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except BaseException as error:
            self._roll_back(connection)
            if isinstance(error, sqlite3.Error):
                message = f"{self.path.name} cannot be written: {error}; check the disk"
                raise StorageUnavailable(message) from error
            raise

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        """Leave no transaction open, lest a later one took itself for a part of it."""
        if connection.in_transaction:  # a full disk has ended it already
            try:
                connection.execute("ROLLBACK")
            except sqlite3.Error:  # what went wrong first is on its way already
                self.close()

    def close(self) -> None:
        """Close this thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None


def _is_busy(error: Exception) -> bool:
    """Two processes that open a new file at once meet at the switch to WAL, where SQLite itself does not wait."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
