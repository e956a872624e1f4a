"""The event log on Apache Kafka."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from sluice.errors import InvalidSetting, SluiceError
from sluice.events import Listener, NewRecord, Partition, StoredRecord
from sluice.kafka import failures
from sluice.kafka.cluster import EARLIEST, LATEST, Cluster
from sluice.kafka.connection import Connection, Properties
from sluice.kafka.groups import Groups
from sluice.kafka.latch import Latch
from sluice.kafka.membership import PATIENCE, KafkaMembership, Patience
from sluice.kafka.readers import Readers
from sluice.kafka.writer import Writer

_LARGEST: Final = "1000000"


class KafkaLog:
    """:class:`~sluice.events.EventLog` on Kafka; its partitioner is murmur2, as Java's.

    ``servers`` is ``host:port`` of brokers, comma separated; ``properties`` tells librdkafka properties for TLS
    and SASL. Used by any number of threads; open it after the fork.
    """

    def __init__(self, servers: str, properties: Properties = dict, patience: Patience = PATIENCE) -> None:
        largest = properties().get("message.max.bytes", _LARGEST)
        if not largest.isdecimal():
            raise InvalidSetting("message.max.bytes of SLUICE_KAFKA_PROPERTIES_FILE is no number; correct it")
        self._connection, self._patience = Connection(servers, properties), patience
        self._cluster = Cluster(self._connection)
        self._groups = Groups(self._connection)
        self._writer = Writer(self._connection, int(largest))
        self._latch = Latch(self._cluster.ids)
        self._readers = Readers(self._connection, self._cluster.ends_of, self._latch)

    def create_topics(self, topics: Mapping[str, int], compacted: Collection[str] = ()) -> None:
        """See :class:`~sluice.events.EventLog`."""
        self._cluster.create_topics(topics, compacted)

    def partitions(self, topic: str) -> list[Partition]:
        """See :class:`~sluice.events.EventLog`."""
        return self._cluster.partitions(topic)

    def append(self, topic: str, records: Sequence[NewRecord]) -> None:
        """See :class:`~sluice.events.EventLog`; after an error it may hold any of the records."""
        if not records:
            self._writer.open()  # the first record does not have to wait for that
            return
        if not (partitions := self.partitions(topic)):
            raise failures.unknown_topic(topic)
        try:
            self._writer.append(topic, len(partitions), records)
        except SluiceError:
            self._cluster.forget(topic)  # it may be gone, or have other partitions
            raise

    def read(self, positions: Mapping[Partition, int], limit: int, timeout_s: float) -> list[StoredRecord]:
        """See :class:`~sluice.events.EventLog`; takes up to 10 s before it says that no broker answers."""
        with self._readers.of(positions) as reader:
            return reader.read(positions, limit, timeout_s)

    def begin_offsets(self, topic: str) -> dict[Partition, int]:
        """See :class:`~sluice.events.EventLog`."""
        return self._cluster.offsets(topic, EARLIEST)

    def end_offsets(self, topic: str) -> dict[Partition, int]:
        """See :class:`~sluice.events.EventLog`."""
        return self._cluster.offsets(topic, LATEST)

    def offsets_at(self, topic: str, timestamp: int) -> dict[Partition, int]:
        """See :class:`~sluice.events.EventLog`."""
        return self._cluster.offsets_at(topic, timestamp)

    def commit(self, group: str, positions: Mapping[Partition, int]) -> None:
        """See :class:`~sluice.events.EventLog`; refused while ``group`` has members."""
        if positions:
            self._groups.commit(group, positions)

    def committed(self, group: str) -> dict[Partition, int]:
        """See :class:`~sluice.events.EventLog`."""
        return self._groups.committed(group)

    def join(self, group: str, topics: Sequence[str], listener: Listener) -> KafkaMembership:
        """See :class:`~sluice.events.EventLog`; refuses topics of unequal partition counts."""
        counts = {topic: len(self.partitions(topic)) for topic in topics}
        for topic, count in counts.items():
            if not count:
                raise failures.unknown_topic(topic)
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{topic} has {count}" for topic, count in counts.items())
            raise SluiceError(
                f"topics of one source need equally many partitions, but {told}; create them anew"
            )
        return KafkaMembership(
            self._connection, self._cluster.ends_of, self._latch, group, topics, listener, self._patience
        )

    def close(self) -> None:
        """See :class:`~sluice.events.EventLog`; memberships are closed by their owners."""
        self._readers.close()
        self._groups.close()
        self._writer.close()
