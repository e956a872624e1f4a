"""Commits of a group's member, each waited for a bounded time.

The client's own way of waiting for a commit knows no limit and hears nothing meanwhile, not even that its login is
refused. So a commit is asked for, and its outcome is heard with all else that the client has to say.
"""

import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from sluice.errors import StorageUnavailable
from sluice.kafka.connection import ANSWER_S

_FIRST_S: Final = 0.0005
_LONGEST_S: Final = 0.005
Asked = frozenset[tuple[str, int, int]]


class Commits:
    """Of one consumer, whose ``on_commit`` is :meth:`heard`."""

    def __init__(self) -> None:
        self._asked: Asked = frozenset()
        self._outcome: tuple[KafkaError | None, list[TopicPartition]] | None = None

    @property
    def pending(self) -> bool:
        """Whether the last commit was given up and nothing was heard of it since."""
        return bool(self._asked) and self._outcome is None

    def heard(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        """Take note of an outcome; those of other positions, given up earlier, say nothing of the present ones."""
        if _key(places) == self._asked:
            self._outcome = error, places

    def commit(
        self, consumer: Consumer, places: list[TopicPartition], listen: Callable[[], None]
    ) -> list[TopicPartition]:
        """Return the places with their errors; ``listen`` hears the client without waiting.

        Raises :class:`KafkaException`, and :class:`StorageUnavailable` if no outcome is heard in time; it may be
        carried out all the same then.
        """
        ends_at, pause_s = time.monotonic() + ANSWER_S, _FIRST_S
        self._asked, self._outcome = _key(places), None
        consumer.commit(offsets=places, asynchronous=True)
        while self._outcome is None:
            if time.monotonic() > ends_at:
                raise StorageUnavailable(f"the brokers did not answer a commit within {ANSWER_S:.0f} s")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_S)
            listen()
        error, committed = self._outcome
        if error is not None:
            raise KafkaException(error)
        return committed


def _key(places: list[TopicPartition]) -> Asked:
    return frozenset((each.topic, each.partition, each.offset) for each in places)
