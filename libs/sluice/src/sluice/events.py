"""The event log port: partitioned, ordered, durable topics (Kafka, or the embedded one)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol


class Partition(NamedTuple):
    """One ordered part of a topic."""

    topic: str
    number: int


class NewRecord(NamedTuple):
    """What a writer hands over. ``value=None`` is a tombstone: it deletes ``key`` in a compacted topic."""

    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class StoredRecord(NamedTuple):
    """What a reader gets. ``timestamp`` is when the log took it, Unix time in milliseconds."""

    partition: Partition
    offset: int
    timestamp: int
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class EventLog(Protocol):
    """Append to and read from topics.

    Records with equal keys go to the same partition in the order of appending. Offsets rise within a
    partition; they need not be gapless. Raises :class:`~sluice.errors.StorageUnavailable` when the log
    cannot answer.
    """

    def create_topics(self, topics: Mapping[str, int]) -> None:
        """Create the topics that do not exist yet, with so many partitions each."""

    def partitions(self, topic: str) -> list[Partition]:
        """Return the partitions of ``topic``; empty if the topic does not exist."""

    def append(self, topic: str, records: Sequence[NewRecord]) -> None:
        """Append ``records`` in order; when this returns, the log has them durably."""

    def read(self, positions: Mapping[Partition, int], limit: int, timeout_s: float) -> list[StoredRecord]:
        """Return up to ``limit`` records at or after ``positions``, per partition in offset order.

        Waits up to ``timeout_s`` for the first one. A partition never starves another.
        """

    def end_offsets(self, topic: str) -> dict[Partition, int]:
        """Return, per partition, the offset that the next record will get at the least."""

    def commit(self, group: str, positions: Mapping[Partition, int]) -> None:
        """Note how far ``group`` has come, for lag monitoring."""

    def committed(self, group: str) -> dict[Partition, int]:
        """Return what ``group`` last noted."""
