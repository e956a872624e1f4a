"""The event log port: partitioned, ordered, durable topics (Kafka, or the embedded one)."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol


class Partition(NamedTuple):
    """One ordered part of a topic."""

    topic: str
    number: int


class NewRecord(NamedTuple):
    """What a writer hands over. ``value=None`` is a tombstone: it deletes ``key`` in a compacted topic.

    The key decides the partition unless one is named; a number beyond the topic's partitions wraps around.
    """

    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None


class StoredRecord(NamedTuple):
    """What a reader gets. ``timestamp`` is when the log took it, Unix time in milliseconds."""

    partition: Partition
    offset: int
    timestamp: int
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Listener(Protocol):
    """Whoever reads as a member of a group: told which partitions are its own, always within ``read`` or ``stay``."""

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Take partitions over; positions for them are expected in the next ``read``."""

    def revoked(self, partitions: Collection[Partition]) -> None:
        """Give partitions up; what was done may be committed for the last time."""

    def lost(self, partitions: Collection[Partition]) -> None:
        """Let go of partitions that another member has already; a commit for them would be refused."""


class Membership(Protocol):
    """One member of a consumer group. Partitions of equal number, of all topics joined, go to one member.

    Used by one thread. Raises :class:`~sluice.errors.StorageUnavailable` when the log cannot answer.
    """

    @property
    def joined(self) -> bool:
        """Whether the group has ever taken it in and said what it is to read, be it nothing; for any thread."""

    def read(self, positions: Mapping[Partition, int], limit: int, timeout_s: float) -> list[StoredRecord]:
        """Return records like :meth:`EventLog.read`, of assigned partitions at ``positions``.

        The listener may be told first of changes; then nothing is returned, for the positions are outdated.
        """

    def stay(self) -> None:
        """Read nothing but remain a member, while what was read last is still being worked on."""

    def commit(self, positions: Mapping[Partition, int]) -> None:
        """Note how far the group has come in partitions of this member (and any of topics nobody joined).

        Raises :class:`~sluice.errors.StorageUnavailable` if the group did not take it: a rebalance is going on,
        perhaps, of which the next ``read`` or ``stay`` tells.
        """

    def close(self) -> None:
        """Leave the group; the listener is told that all was revoked."""


class EventLog(Protocol):
    """Append to and read from topics.

    Records with equal keys go to the same partition in the order of appending. Offsets rise within a
    partition; they need not be gapless. Raises :class:`~sluice.errors.StorageUnavailable` when the log
    cannot answer.
    """

    def create_topics(self, topics: Mapping[str, int], compacted: Collection[str] = ()) -> None:
        """Create the topics that do not exist yet, with so many partitions each.

        Of ``compacted`` ones the newest record of each key stays for good, of the others every record stays as
        long as the log's retention says.
        """

    def partitions(self, topic: str) -> list[Partition]:
        """Return the partitions of ``topic``; empty if the topic does not exist."""

    def append(self, topic: str, records: Sequence[NewRecord]) -> None:
        """Append ``records`` in order; when this returns, the log has them durably."""

    def read(self, positions: Mapping[Partition, int], limit: int, timeout_s: float) -> list[StoredRecord]:
        """Return up to ``limit`` records at or after ``positions``, per partition in offset order.

        Waits up to ``timeout_s`` for the first one. A partition never starves another. Raises
        :class:`~sluice.errors.OffsetOutOfRange` for a position before the first record kept or beyond the end.
        """

    def begin_offsets(self, topic: str) -> dict[Partition, int]:
        """Return, per partition, the lowest offset that can still be read."""

    def end_offsets(self, topic: str) -> dict[Partition, int]:
        """Return, per partition, the offset that the next record will get at the least."""

    def offsets_at(self, topic: str, timestamp: int) -> dict[Partition, int]:
        """Return, per partition, the first offset that the log took at or after ``timestamp`` (ms); else the end."""

    def commit(self, group: str, positions: Mapping[Partition, int]) -> None:
        """Note how far ``group`` has come, for lag monitoring."""

    def committed(self, group: str) -> dict[Partition, int]:
        """Return what ``group`` last noted."""

    def join(self, group: str, topics: Sequence[str], listener: Listener) -> Membership:
        """Join a consumer group over ``topics``; the first ``read`` tells the listener what is assigned."""

    def close(self) -> None:
        """Give connections back; what was appended is durable already."""
