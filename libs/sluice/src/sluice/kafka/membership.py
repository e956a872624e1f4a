"""One member of a Kafka consumer group.

Partitions are given by the group (``range``: those of equal number of all topics go to one member); where to
read them is said by the caller, who keeps positions with what it made of the records. For each batch:

1. ``read`` gives records of partitions that are this member's;
2. the caller stores what it made of them, with the positions;
3. ``commit`` notes the positions in the group, for whoever takes the partitions over.

So each record is delivered at least once: after a crash between 2 and 3 the next owner is given the batch
again, and the caller's stored positions tell it what to pass over. ``revoked`` comes before another member is
assigned a partition, so that a commit there is the last one; after ``lost`` it may be too late for that.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from sluice.errors import StorageUnavailable
from sluice.events import Listener, Partition, StoredRecord
from sluice.kafka import failures, reader
from sluice.kafka.commits import Commits
from sluice.kafka.connection import Connection
from sluice.kafka.latch import Latch
from sluice.kafka.reader import Ends, Reader

_log = structlog.get_logger()


class Patience(NamedTuple):
    """When a group gives a member up: ``session_s`` after its last sign of life, ``poll_s`` after its last call."""

    session_s: float = 10.0
    poll_s: float = 60.0


PATIENCE: Final = Patience()
_PROTOCOL: Final = {"group.protocol": "classic", "partition.assignment.strategy": "range"}


class KafkaMembership:
    """:class:`~sluice.events.Membership` of a Kafka consumer group."""

    def __init__(
        self,
        connection: Connection,
        ends: Ends,
        latch: Latch,
        group: str,
        topics: Sequence[str],
        listener: Listener,
        patience: Patience,
    ) -> None:
        self._group, self._topics, self._listener = group, frozenset(topics), listener
        self._owned: frozenset[Partition] = frozenset()
        self._raised: Exception | None = None
        self.joined = False
        self._commits, self._rebalancing = Commits(), False
        settings = {**_settings(group, patience), "on_commit": self._commits.heard}
        self._consumer = connection.open(Consumer, settings)
        self._reader = Reader(self._consumer, ends, latch)
        self._consumer.subscribe(
            list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def read(self, positions: Mapping[Partition, int], limit: int, timeout_s: float) -> list[StoredRecord]:
        """See :class:`~sluice.events.Membership`; partitions that are not this member's are passed over."""
        own = {partition: at for partition, at in positions.items() if partition in self._owned}
        try:
            return self._reader.read(own, limit, timeout_s)
        finally:
            self._tell()

    def stay(self) -> None:
        """See :class:`~sluice.events.Membership`."""
        try:
            self._reader.keep_alive()
        finally:
            self._tell()

    def commit(self, positions: Mapping[Partition, int]) -> None:
        """See :class:`~sluice.events.Membership`."""
        for topic, number in positions.keys() - self._owned:
            if topic in self._topics:
                raise StorageUnavailable(f"{topic}[{number}] is another member's of group {self._group} now")
        if not positions:
            return
        places = [TopicPartition(*partition, at) for partition, at in positions.items()]
        what = f"commit for group {self._group}"
        owned = self._owned
        try:
            if self._rebalancing:  # nothing else can be heard; the coordinator has just spoken
                committed = self._consumer.commit(offsets=places, asynchronous=False) or []
            else:
                committed = self._commits.commit(self._consumer, places, self._reader.keep_alive)
        except KafkaException as error:
            raise failures.unavailable(what, error) from error
        if owned is not self._owned and not self._rebalancing:
            raise StorageUnavailable(f"group {self._group} gave its partitions out anew during a commit")
        for place in committed:
            if place.error is not None:
                raise failures.unavailable(what, place.error)

    def close(self) -> None:
        """See :class:`~sluice.events.Membership`."""
        self._give_up(self._listener.revoked)
        if not self._commits.pending:  # with one the client closes when a broker is back; the group finds out
            self._consumer.close()
        self._tell()

    # Called by the client, within read, stay or close

    def _on_assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        self._reader.stop()
        consumer.assign([])  # positions come with the next read; until then nothing is fetched
        self._owned = frozenset(Partition(each.topic, each.partition) for each in assigned)
        self.joined = True
        _log.info("partitions assigned", group=self._group, partitions=_names(self._owned))
        if self._owned:
            self._call(self._listener.assigned)

    def _on_revoke(self, consumer: Consumer, revoked: list[TopicPartition]) -> None:
        if not consumer.memberid():  # put out already; the client tells that as a revocation at times
            self._on_lost(consumer, revoked)
            return
        self._rebalancing = True
        try:
            self._give_up(self._listener.revoked)
        finally:
            self._rebalancing = False

    def _on_lost(self, _consumer: Consumer, _lost: list[TopicPartition]) -> None:
        self._give_up(self._listener.lost, lost=True)

    def _give_up(self, tell: Callable[[Collection[Partition]], None], *, lost: bool = False) -> None:
        """Let go; the listener may still commit, and only then does the client let another member have them."""
        self._reader.stop()
        if not self._owned:
            return
        _log.info(
            "partitions lost" if lost else "partitions revoked",
            group=self._group,
            partitions=_names(self._owned),
        )
        try:
            self._call(tell)
        finally:
            self._owned = frozenset()

    def _call(self, tell: Callable[[Collection[Partition]], None]) -> None:
        """Tell the listener; its error is raised later, not through the client in the middle of a rebalance."""
        try:
            tell(sorted(self._owned))
        except Exception as error:
            self._raised = error

    def _tell(self) -> None:
        if (error := self._raised) is not None:
            self._raised = None
            raise error


def _settings(group: str, patience: Patience) -> dict[str, object]:
    return {
        **reader.SETTINGS,
        **_PROTOCOL,
        "group.id": group,
        "session.timeout.ms": int(patience.session_s * 1e3),
        "heartbeat.interval.ms": int(patience.session_s * 1e3 / 4),
        "max.poll.interval.ms": int(patience.poll_s * 1e3),
    }


def _names(partitions: Collection[Partition]) -> list[str]:
    return [f"{topic}[{number}]" for topic, number in sorted(partitions)]
