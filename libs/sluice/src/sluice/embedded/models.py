"""Catalog, evidence and routing of one model on SQLite."""

from pathlib import Path
from typing import Final

import msgspec

from sluice.catalog import CatalogEntry
from sluice.embedded.database import Database
from sluice.errors import Conflict, StaleEpoch
from sluice.evidence import EvidenceRow, EvidenceTotals, add_up
from sluice.routing import Routing

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS epochs (epoch INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS catalog (
    sequence INTEGER PRIMARY KEY, snapshot TEXT UNIQUE NOT NULL, entry BLOB NOT NULL,
    released INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS evidence (
    rollout TEXT, snapshot TEXT, writer TEXT, sequence TEXT, document BLOB NOT NULL,
    PRIMARY KEY (rollout, snapshot, writer, sequence)) WITHOUT ROWID;
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
            return self._epoch()

    def _epoch(self) -> int:
        row = self._database.read_one("SELECT coalesce(max(epoch), 0) FROM epochs")
        return int(row[0])

    def commit(self, entry: CatalogEntry) -> None:
        """See :class:`~sluice.catalog.Catalog`."""
        with self._database.writing() as connection:
            newest = self._epoch()
            if entry.epoch < newest:
                raise StaleEpoch(f"trainer epoch {entry.epoch} was replaced by {newest}; stop this trainer")
            existing = self.get(entry.id)
            if existing is None:
                connection.execute(
                    "INSERT INTO catalog (snapshot, entry) VALUES (?, ?)",
                    (entry.id, msgspec.msgpack.encode(entry)),
                )
            elif existing.digest != entry.digest:
                raise Conflict(f"snapshot {entry.id} exists with another digest; cut it under a new id")

    def entries(self) -> list[CatalogEntry]:
        """See :class:`~sluice.catalog.Catalog`."""
        rows = self._database.read("SELECT entry, released FROM catalog ORDER BY sequence")
        return [_entry(*row) for row in rows]

    def get(self, snapshot: str) -> CatalogEntry | None:
        """See :class:`~sluice.catalog.Catalog`."""
        row = self._database.read_one("SELECT entry, released FROM catalog WHERE snapshot = ?", (snapshot,))
        return None if row is None else _entry(*row)

    def release(self, snapshots: set[str]) -> None:
        """See :class:`~sluice.catalog.Catalog`."""
        with self._database.writing() as connection:
            connection.executemany(
                "UPDATE catalog SET released = 1 WHERE snapshot = ?", [(each,) for each in snapshots]
            )

    def remove(self, snapshot: str) -> None:
        """See :class:`~sluice.catalog.Catalog`."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM catalog WHERE snapshot = ? AND released", (snapshot,))


def _entry(document: bytes, released: int) -> CatalogEntry:
    entry = msgspec.msgpack.decode(document, type=CatalogEntry)
    return msgspec.structs.replace(entry, released=bool(released))


class EmbeddedEvidence:
    """:class:`~sluice.evidence.EvidenceStore` on SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, rows: list[EvidenceRow]) -> None:
        """See :class:`~sluice.evidence.EvidenceStore`."""
        with self._database.writing() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO evidence VALUES (?, ?, ?, ?, ?)",
                [
                    (row.rollout, row.snapshot, row.writer, row.sequence, msgspec.msgpack.encode(row))
                    for row in rows
                ],
            )

    def totals(self, rollout: str, weight: int) -> EvidenceTotals:
        """See :class:`~sluice.evidence.EvidenceStore`."""
        rows = self._database.read("SELECT document FROM evidence WHERE rollout = ?", (rollout,))
        return add_up((msgspec.msgpack.decode(row[0], type=EvidenceRow) for row in rows), weight)

    def purge(self, keep: set[str]) -> None:
        """See :class:`~sluice.evidence.EvidenceStore`."""
        with self._database.writing() as connection:
            known = {rollout for (rollout,) in connection.execute("SELECT DISTINCT rollout FROM evidence")}
            connection.executemany(
                "DELETE FROM evidence WHERE rollout = ?", [(each,) for each in known - keep]
            )


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
