"""Positions of consumer groups that are noted and looked up without being a member.

With one consumer for each group, not with the administrator's client: librdkafka ends the *process* when a
broker closes the connection under an administrator's request to a group's coordinator (its issues 3663 and
4605, seen with 2.16 too).
"""

import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from sluice.events import Partition
from sluice.kafka import failures
from sluice.kafka.connection import ANSWER_S, REQUEST_S, Connection

_SETTINGS: Final[Mapping[str, Any]] = {
    "enable.auto.commit": False,
    "session.timeout.ms": int(REQUEST_S * 1e3),  # a commit waits so long for the coordinator
}
_AGAIN_S: Final = 0.1


class Groups:
    """Keeps a consumer for each group asked for; one call at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._consumers: dict[str, Consumer] = {}

    def commit(self, group: str, positions: Mapping[Partition, int]) -> None:
        """Note positions of a group that has no members."""
        places = [TopicPartition(*partition, at) for partition, at in positions.items()]
        self._ask(group, lambda consumer: consumer.commit(offsets=places, asynchronous=False))

    def committed(self, group: str) -> dict[Partition, int]:
        """Return all positions of a group; Kafka is asked for every partition that it has."""
        return {
            Partition(each.topic, each.partition): each.offset
            for each in self._ask(group, _committed)
            if each.offset >= 0
        }

    def _ask(self, group: str, ask: Any) -> list[TopicPartition]:
        deadline = time.monotonic() + ANSWER_S
        with self._lock:
            consumer = self._open(group)
            while True:
                try:
                    return _whole(ask(consumer))
                except KafkaException as error:
                    consumer.poll(0.0)  # a refused login is heard here
                    passing = failures.code_of(error) in failures.PASSING
                    if not passing or time.monotonic() + REQUEST_S > deadline:
                        cause = self._connection.cause(error.args[0])
                        raise failures.unavailable(f"keep the positions of group {group}", cause) from error
                    time.sleep(_AGAIN_S)

    def _open(self, group: str) -> Consumer:
        if group not in self._consumers:
            settings = {**_SETTINGS, "group.id": group}
            self._consumers[group] = self._connection.open(Consumer, settings)
        return self._consumers[group]

    def close(self) -> None:
        """Close all."""
        with self._lock:
            consumers = list(self._consumers.values())
            self._consumers.clear()
        for consumer in consumers:
            consumer.close()


def _committed(consumer: Consumer) -> list[TopicPartition]:
    topics = consumer.list_topics(timeout=REQUEST_S).topics
    places = [
        TopicPartition(topic, number)
        for topic, described in topics.items()
        if not topic.startswith("__")
        for number in described.partitions
    ]
    return consumer.committed(places, timeout=REQUEST_S) if places else []


def _whole(places: list[TopicPartition] | None) -> list[TopicPartition]:
    """Return an answer unless there is an error in one of its places."""
    for place in places or ():
        if place.error is not None:
            raise KafkaException(place.error)
    return places or []
