"""The embedded event log: topics as rows of one SQLite file."""

import itertools
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from sluice.embedded.database import Database
from sluice.errors import OffsetOutOfRange, StorageUnavailable
from sluice.events import Listener, NewRecord, Partition, StoredRecord

POLL_S: Final = 0.004

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS heads (topic TEXT, part INTEGER, next INTEGER NOT NULL, PRIMARY KEY (topic, part));
CREATE TABLE IF NOT EXISTS records (
    topic TEXT, part INTEGER, offset INTEGER, timestamp INTEGER NOT NULL, key BLOB NOT NULL, value BLOB,
    headers BLOB, PRIMARY KEY (topic, part, offset)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS committed (
    consumers TEXT, topic TEXT, part INTEGER, offset INTEGER NOT NULL, PRIMARY KEY (consumers, topic, part));
"""


class EmbeddedLog:
    """:class:`~sluice.events.EventLog` on SQLite; its partitioner is CRC-32 of the key."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _SCHEMA)
        self._turns = itertools.count()

    def create_topics(self, topics: Mapping[str, int], compacted: Collection[str] = ()) -> None:
        """See :class:`~sluice.events.EventLog`."""
        rows = [(topic, part) for topic, parts in topics.items() for part in range(parts)]
        with self._database.writing() as connection:
            existing = {topic for (topic,) in connection.execute("SELECT DISTINCT topic FROM heads")}
            connection.executemany(
                "INSERT INTO heads VALUES (?, ?, 0)", [row for row in rows if row[0] not in existing]
            )

    def partitions(self, topic: str) -> list[Partition]:
        """See :class:`~sluice.events.EventLog`."""
        return list(self.end_offsets(topic))

    def append(self, topic: str, records: Sequence[NewRecord]) -> None:
        """See :class:`~sluice.events.EventLog`."""
        with self._database.writing() as connection:
            heads = dict(connection.execute("SELECT part, next FROM heads WHERE topic = ?", (topic,)))
            if not heads:
                raise StorageUnavailable(f"topic {topic} does not exist; create it first")
            now = time.time_ns() // 1_000_000
            rows = []
            for record in records:
                chosen = crc32(record.key) if record.partition is None else record.partition
                part = chosen % len(heads)
                headers = msgspec.msgpack.encode(record.headers) if record.headers else None
                rows.append((topic, part, heads[part], now, record.key, record.value, headers))
                heads[part] += 1
            connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            connection.executemany(
                "UPDATE heads SET next = ? WHERE topic = ? AND part = ?",
                [(offset, topic, part) for part, offset in heads.items()],
            )

    def read(self, positions: Mapping[Partition, int], limit: int, timeout_s: float) -> list[StoredRecord]:
        """See :class:`~sluice.events.EventLog`."""
        deadline = time.monotonic() + timeout_s
        while True:
            version = self._version()
            found = self._read_now(positions, limit)
            if found or time.monotonic() >= deadline or not self._wait_for_change(version, deadline):
                return found

    def _version(self) -> int:
        row = self._database.read_one("PRAGMA data_version")
        return int(row[0])

    def _wait_for_change(self, version: int, deadline: float) -> bool:
        """Return whether another connection wrote before ``deadline``."""
        while self._version() == version:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            time.sleep(min(POLL_S, remaining))
        return True

    def _read_now(self, positions: Mapping[Partition, int], limit: int) -> list[StoredRecord]:
        """Give each partition its share first, then what is left of ``limit`` to those that have more."""
        share = max(1, limit // max(1, len(positions)))
        order = list(positions.items())
        if limit < len(order):  # not all can give one; another begins each time
            first = next(self._turns) % len(order)
            order = order[first:] + order[:first]
        found: list[StoredRecord] = []
        more = []
        nothing = {}
        for partition, position in order:
            records = self._read_part(partition, position, min(share, limit - len(found)))
            if len(records) == share:
                more.append((partition, records[-1].offset + 1))
            if not records:
                nothing[partition] = position
            found.extend(records)
        self._check(nothing)
        for partition, position in more:
            found.extend(self._read_part(partition, position, limit - len(found)))
        return found

    def _check(self, positions: Mapping[Partition, int]) -> None:
        """Raise for a position that is beyond the end; those of an unknown topic are at one."""
        ends: dict[Partition, int] = {}
        for topic in {each.topic for each in positions}:
            ends.update(self.end_offsets(topic))
        for partition, position in positions.items():
            end = ends.get(partition, position)
            if position > end:
                raise OffsetOutOfRange(*partition, position, 0, end)

    def _read_part(self, partition: Partition, position: int, limit: int) -> list[StoredRecord]:
        if limit <= 0:
            return []
        rows = self._database.read(
            "SELECT offset, timestamp, key, value, headers FROM records"
            " WHERE topic = ? AND part = ? AND offset >= ? ORDER BY offset LIMIT ?",
            (partition.topic, partition.number, position, limit),
        )
        return [_stored(partition, *row) for row in rows]

    def begin_offsets(self, topic: str) -> dict[Partition, int]:
        """See :class:`~sluice.events.EventLog`; nothing is ever deleted here."""
        return dict.fromkeys(self.end_offsets(topic), 0)

    def end_offsets(self, topic: str) -> dict[Partition, int]:
        """See :class:`~sluice.events.EventLog`."""
        rows = self._database.read("SELECT part, next FROM heads WHERE topic = ? ORDER BY part", (topic,))
        return {Partition(topic, part): offset for part, offset in rows}

    def offsets_at(self, topic: str, timestamp: int) -> dict[Partition, int]:
        """See :class:`~sluice.events.EventLog`."""
        return {
            partition: self._offset_at(partition, timestamp, end)
            for partition, end in self.end_offsets(topic).items()
        }

    def _offset_at(self, partition: Partition, timestamp: int, end: int) -> int:
        row = self._database.read_one(
            "SELECT min(offset) FROM records WHERE topic = ? AND part = ? AND timestamp >= ?",
            (partition.topic, partition.number, timestamp),
        )
        return end if row[0] is None else int(row[0])

    def commit(self, group: str, positions: Mapping[Partition, int]) -> None:
        """See :class:`~sluice.events.EventLog`."""
        rows = [(group, partition.topic, partition.number, offset) for partition, offset in positions.items()]
        with self._database.writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO committed VALUES (?, ?, ?, ?)", rows)

    def committed(self, group: str) -> dict[Partition, int]:
        """See :class:`~sluice.events.EventLog`."""
        rows = self._database.read("SELECT topic, part, offset FROM committed WHERE consumers = ?", (group,))
        return {Partition(topic, part): offset for topic, part, offset in rows}

    def join(self, group: str, topics: Sequence[str], listener: Listener) -> "EmbeddedMembership":
        """See :class:`~sluice.events.EventLog`; one member at a time has all partitions."""
        return EmbeddedMembership(self, group, topics, listener)

    def close(self) -> None:
        """See :class:`~sluice.events.EventLog`."""
        self._database.close()


class EmbeddedMembership:
    """:class:`~sluice.events.Membership` of the one process that a source has on one machine."""

    def __init__(self, log: EmbeddedLog, group: str, topics: Sequence[str], listener: Listener) -> None:
        self._log, self._group, self._topics, self._listener = log, group, topics, listener
        self._assigned: list[Partition] | None = None

    @property
    def joined(self) -> bool:
        """See :class:`~sluice.events.Membership`."""
        return self._assigned is not None

    def read(self, positions: Mapping[Partition, int], limit: int, timeout_s: float) -> list[StoredRecord]:
        """See :class:`~sluice.events.Membership`."""
        if self._assigned is None:
            self._assigned = [each for topic in self._topics for each in self._log.partitions(topic)]
            self._listener.assigned(self._assigned)
            return []
        return self._log.read(positions, limit, timeout_s)

    def stay(self) -> None:
        """See :class:`~sluice.events.Membership`."""

    def commit(self, positions: Mapping[Partition, int]) -> None:
        """See :class:`~sluice.events.Membership`."""
        self._log.commit(self._group, positions)

    def close(self) -> None:
        """See :class:`~sluice.events.Membership`."""
        if self._assigned is not None:
            self._listener.revoked(self._assigned)
            self._assigned = None


def _stored(
    partition: Partition, offset: int, timestamp: int, key: bytes, value: bytes | None, headers: bytes | None
) -> StoredRecord:
    decoded = msgspec.msgpack.decode(headers, type=tuple[tuple[str, bytes], ...]) if headers else ()
    return StoredRecord(partition, offset, timestamp, key, value, decoded)
