"""Topics of a cluster and their offsets: what an administrator's client is asked for."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any, Final

from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec  # type: ignore[attr-defined]

from sluice.errors import StorageUnavailable
from sluice.events import Partition
from sluice.kafka import failures
from sluice.kafka.connection import ANSWER_S, REQUEST_S, Connection

DAYS_MS: Final = 24 * 3600 * 1000
_ALL: Final = {"message.timestamp.type": "LogAppendTime"}
_COMPACTED: Final = {"cleanup.policy": "compact", "delete.retention.ms": str(30 * DAYS_MS)}
"""A tombstone must outlive every snapshot, or a deleted item would come back from an old one."""
_KNOWN_S: Final = 60.0
_POLL_S: Final = 0.1
_AGAIN_S: Final = 0.1

EARLIEST: Final[Any] = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
LATEST: Final[Any] = OffsetSpec.latest()  # type: ignore[no-untyped-call]

Ask = Callable[[AdminClient], Mapping[Any, "Future[Any]"]]


class Cluster:
    """Asks with one client for all threads; each call is answered within 10 s or raises StorageUnavailable."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._client = connection, connection.open(AdminClient, {})
        self._known: dict[str, tuple[float, list[Partition]]] = {}

    def create_topics(self, topics: Mapping[str, int], compacted: Collection[str]) -> None:
        """See :class:`~sluice.events.EventLog`; replication is what the brokers have as default."""
        missing = [topic for topic in topics if not self._look_up(topic)]
        wanted = [
            NewTopic(
                topic,
                num_partitions=topics[topic],
                replication_factor=-1,
                config=_ALL | (_COMPACTED if topic in compacted else {}),
            )
            for topic in missing
        ]
        if not wanted:
            return
        answers = self._ask(lambda client: client.create_topics(wanted, request_timeout=REQUEST_S))
        for topic, answer in answers.items():
            made = not isinstance(answer, KafkaException)
            if not made and failures.code_of(answer) != KafkaError.TOPIC_ALREADY_EXISTS:
                raise failures.unavailable(f"create topic {topic}", answer)
        self._wait_for(missing)

    def _wait_for(self, topics: Iterable[str]) -> None:
        """Wait: a broker learns of a topic a little after the controller has made it."""
        deadline = time.monotonic() + ANSWER_S
        for topic in topics:
            self.forget(topic)  # it may have been there before
            while not self.partitions(topic):
                if time.monotonic() > deadline:
                    raise StorageUnavailable(f"Kafka created topic {topic} but does not serve it yet")
                time.sleep(_AGAIN_S)

    def partitions(self, topic: str) -> list[Partition]:
        """See :class:`~sluice.events.EventLog`; new partitions are noticed after a minute."""
        looked_at, partitions = self._known.get(topic, (0.0, []))
        if not partitions or time.monotonic() - looked_at > _KNOWN_S:
            partitions = self._look_up(topic)
            self._known[topic] = (time.monotonic(), partitions)
        return list(partitions)

    def _look_up(self, topic: str) -> list[Partition]:
        """Ask for a description, which never creates a topic as asking for metadata may."""
        asked = TopicCollection([topic])
        answer = self._ask(lambda client: client.describe_topics(asked, request_timeout=REQUEST_S))[topic]
        if isinstance(answer, KafkaException):
            if failures.code_of(answer) in failures.UNKNOWN_TOPIC:
                return []
            raise failures.unavailable(f"describe topic {topic}", answer)
        return [Partition(topic, number) for number in sorted(each.id for each in answer.partitions)]

    def ids(self, topics: Collection[str]) -> dict[str, str]:
        """Return the ids of topics, which one that is created anew does not keep; without those that do not exist."""
        if not topics:
            return {}
        asked = TopicCollection(list(topics))
        answers = self._ask(lambda client: client.describe_topics(asked, request_timeout=REQUEST_S))
        for topic, answer in answers.items():
            if isinstance(answer, KafkaException) and failures.code_of(answer) not in failures.UNKNOWN_TOPIC:
                raise failures.unavailable(f"describe topic {topic}", answer)
        there = {name: each for name, each in answers.items() if not isinstance(each, KafkaException)}
        return {topic: str(answer.topic_id) for topic, answer in there.items()}

    def forget(self, topic: str) -> None:
        """Look a topic up anew next time."""
        self._known.pop(topic, None)

    def offsets(self, topic: str, wanted: Any) -> dict[Partition, int]:
        """Return an offset of each partition, as an :class:`OffsetSpec` says; empty if the topic does not exist.

        A topic that was deleted, or created with fewer partitions, since it was looked up is asked for as it is now.
        """
        known = self.partitions(topic)
        try:
            return self._offsets(known, wanted)
        except failures.UnknownTopic:
            if (now := self.partitions(topic)) == known:
                raise
            return self._offsets(now, wanted)

    def offsets_at(self, topic: str, timestamp: int) -> dict[Partition, int]:
        """Return the first offset of each partition at or after a time (ms), its end if there is none."""
        found = self.offsets(topic, OffsetSpec.for_timestamp(timestamp))
        none = [partition for partition, offset in found.items() if offset < 0]
        return found | self._offsets(none, LATEST)

    def ends_of(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Return how far partitions can be read: to the first transaction that is still open."""
        return self._offsets(partitions, LATEST, IsolationLevel.READ_COMMITTED)

    def _offsets(
        self,
        partitions: Collection[Partition],
        wanted: Any,
        isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
    ) -> dict[Partition, int]:
        if not partitions:
            return {}
        asked = {TopicPartition(*each): wanted for each in partitions}
        deadline = time.monotonic() + ANSWER_S
        while True:
            answers = self._ask(
                lambda client: client.list_offsets(
                    asked, isolation_level=isolation, request_timeout=REQUEST_S
                )
            )
            failed = {place: each for place, each in answers.items() if isinstance(each, KafkaException)}
            if not failed:
                found = {Partition(each.topic, each.partition): int(answers[each].offset) for each in answers}
                return {partition: found[partition] for partition in partitions}
            self._judge(*next(iter(failed.items())), deadline)
            time.sleep(_AGAIN_S)

    def _judge(self, place: TopicPartition, error: KafkaException, deadline: float) -> None:
        """Raise, unless it may be that the client does not know yet who leads ``place`` now."""
        self.forget(place.topic)
        code = failures.code_of(error)
        if code in failures.UNKNOWN_TOPIC:
            raise failures.unknown_topic(place.topic)
        if code not in failures.LEADERLESS or time.monotonic() > deadline:
            raise failures.unavailable(f"tell the offsets of {place.topic}", error)
        if place.partition not in [each.number for each in self._look_up(place.topic)]:
            raise failures.unknown_topic(place.topic)

    def _ask(self, ask: Ask) -> dict[Any, Any]:
        """Return the answers, an exception where there is none; asks again while it may pass."""
        deadline = time.monotonic() + ANSWER_S
        while True:
            futures = ask(self._client)
            answers = {name: self._answer(future, deadline) for name, future in futures.items()}
            failed = [answer for answer in answers.values() if isinstance(answer, KafkaException)]
            passing = any(failures.code_of(each) in failures.PASSING for each in failed)
            if not passing or time.monotonic() + _AGAIN_S > deadline:
                return answers
            time.sleep(_AGAIN_S)

    def _answer(self, future: "Future[Any]", deadline: float) -> Any:
        while True:
            self._client.poll(0.0)  # a refused login is heard here
            try:
                return future.result(max(0.0, min(_POLL_S, deadline - time.monotonic())))
            except NotYet:
                if time.monotonic() >= deadline:
                    return KafkaException(self._connection.cause(KafkaError(KafkaError._TIMED_OUT)))
            except KafkaException as error:
                return KafkaException(self._connection.cause(error.args[0]))
