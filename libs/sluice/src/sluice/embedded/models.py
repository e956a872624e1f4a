"""Catalog, evidence and routing of one model on SQLite."""

import threading
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from sluice.catalog import CatalogEntry, is_new, require_newest_release
from sluice.embedded.database import Database
from sluice.errors import StaleEpoch
from sluice.evidence import EvidenceRow, EvidenceTotals, RunningTotals
from sluice.routing import Routing

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS epochs (epoch INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS catalog (
    sequence INTEGER PRIMARY KEY, snapshot TEXT UNIQUE NOT NULL, entry BLOB NOT NULL,
    released INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS released_by (one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS evidence_rows (
    number INTEGER PRIMARY KEY AUTOINCREMENT, rollout TEXT NOT NULL, snapshot TEXT NOT NULL,
    writer TEXT NOT NULL, sequence TEXT NOT NULL, document BLOB NOT NULL,
    UNIQUE (rollout, snapshot, writer, sequence));
CREATE INDEX IF NOT EXISTS evidence_of_rollout ON evidence_rows (rollout, number);
CREATE TABLE IF NOT EXISTS evidence_purges (number INTEGER PRIMARY KEY AUTOINCREMENT);
CREATE TABLE IF NOT EXISTS routing (one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER, document BLOB);
"""


def model_database(path: Path) -> Database:
    """Return the database of one model, to be shared by the adapters below."""
    return Database(path, _SCHEMA)


class EmbeddedCatalog:
    """:class:`~sluice.catalog.Catalog` on SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self) -> int:
        """See :class:`~sluice.catalog.Catalog`."""
        with self._database.writing() as connection:
            connection.execute("INSERT INTO epochs SELECT coalesce(max(epoch), 0) + 1 FROM epochs")
            return self.epoch()

    def epoch(self) -> int:
        """See :class:`~sluice.catalog.Catalog`."""
        row = self._database.read_one("SELECT coalesce(max(epoch), 0) FROM epochs")
        return int(row[0])

    def commit(self, entry: CatalogEntry) -> None:
        """See :class:`~sluice.catalog.Catalog`."""
        with self._database.writing() as connection:
            if is_new(entry, self.get(entry.id), self.epoch()):
                connection.execute(
                    "INSERT INTO catalog (snapshot, entry) VALUES (?, ?)",
                    (entry.id, msgspec.msgpack.encode(entry)),
                )

    def entries(self) -> list[CatalogEntry]:
        """See :class:`~sluice.catalog.Catalog`."""
        rows = self._database.read("SELECT entry, released FROM catalog ORDER BY sequence")
        return [_entry(*row) for row in rows]

    def get(self, snapshot: str) -> CatalogEntry | None:
        """See :class:`~sluice.catalog.Catalog`."""
        row = self._database.read_one("SELECT entry, released FROM catalog WHERE snapshot = ?", (snapshot,))
        return None if row is None else _entry(*row)

    def release(self, snapshots: set[str], epoch: int) -> None:
        """See :class:`~sluice.catalog.Catalog`."""
        if not snapshots and self._released_by() == epoch:
            return
        with self._database.writing() as connection:
            require_newest_release(epoch, self._released_by())
            connection.execute("INSERT OR REPLACE INTO released_by VALUES (1, ?)", (epoch,))
            connection.executemany(
                "UPDATE catalog SET released = 1 WHERE snapshot = ?", [(each,) for each in snapshots]
            )

    def _released_by(self) -> int:
        row = self._database.read_one("SELECT epoch FROM released_by")
        return int(row[0]) if row is not None else 0

    def remove(self, snapshot: str) -> None:
        """See :class:`~sluice.catalog.Catalog`."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM catalog WHERE snapshot = ? AND released", (snapshot,))


def _entry(document: bytes, released: int) -> CatalogEntry:
    entry = msgspec.msgpack.decode(document, type=CatalogEntry)
    return msgspec.structs.replace(entry, released=bool(released))


class _Followed(NamedTuple):
    """The running sums of one rollout: which rows and purges they know of."""

    rollout: str
    purges: int
    sums: RunningTotals
    newest: int = 0


class EmbeddedEvidence:
    """:class:`~sluice.evidence.EvidenceStore` on SQLite.

    Rows are numbered in the order of their commits (one writer at a time), numbers are never used again, and
    a purge is numbered too. So :meth:`totals` reads only the rows behind the newest number it knows, and
    begins anew after any purge, by whichever process.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._followed = _Followed("", 0, RunningTotals())

    def append(self, rows: list[EvidenceRow]) -> None:
        """See :class:`~sluice.evidence.EvidenceStore`."""
        with self._database.writing() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO evidence_rows (rollout, snapshot, writer, sequence, document)"
                " VALUES (?, ?, ?, ?, ?)",
                [
                    (row.rollout, row.snapshot, row.writer, row.sequence, msgspec.msgpack.encode(row))
                    for row in rows
                ],
            )

    def totals(self, rollout: str, weight_epoch: int) -> EvidenceTotals:
        """See :class:`~sluice.evidence.EvidenceStore`."""
        with self._lock:
            # Purges are looked up before the rows: one in between is noticed by the next call.
            (purges,) = self._database.read_one("SELECT coalesce(max(number), 0) FROM evidence_purges")
            if (rollout, purges) != self._followed[:2]:
                self._followed = _Followed(rollout, purges, RunningTotals())
            self._follow()
            return self._followed.sums.totals(weight_epoch)

    def _follow(self) -> None:
        """Add the rows that are new."""
        rollout, _, sums, newest = self._followed
        rows = self._database.read(
            "SELECT number, document FROM evidence_rows WHERE rollout = ? AND number > ? ORDER BY number",
            (rollout, newest),
        )
        for row in [msgspec.msgpack.decode(document, type=EvidenceRow) for _, document in rows]:
            sums.add(row)
        if rows:
            self._followed = self._followed._replace(newest=rows[-1][0])

    def purge(self, keep: set[str]) -> None:
        """See :class:`~sluice.evidence.EvidenceStore`."""
        with self._database.writing() as connection:
            known = {
                rollout for (rollout,) in connection.execute("SELECT DISTINCT rollout FROM evidence_rows")
            }
            for rollout in known - keep:
                connection.execute("DELETE FROM evidence_rows WHERE rollout = ?", (rollout,))
            if known - keep:
                connection.execute("INSERT INTO evidence_purges DEFAULT VALUES")


class EmbeddedRouting:
    """:class:`~sluice.routing.RoutingStore` on SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def publish(self, routing: Routing) -> None:
        """See :class:`~sluice.routing.RoutingStore`."""
        with self._database.writing() as connection:
            row = connection.execute("SELECT epoch FROM routing").fetchone()
            if row is not None and routing.epoch < row[0]:
                raise StaleEpoch(f"routing epoch {routing.epoch} was replaced by {row[0]}; decide anew")
            connection.execute(
                "INSERT OR REPLACE INTO routing VALUES (1, ?, ?)",
                (routing.epoch, msgspec.msgpack.encode(routing)),
            )

    def read(self) -> Routing | None:
        """See :class:`~sluice.routing.RoutingStore`."""
        row = self._database.read_one("SELECT document FROM routing")
        return None if row is None else msgspec.msgpack.decode(row[0], type=Routing)
