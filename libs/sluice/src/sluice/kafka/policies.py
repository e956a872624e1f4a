"""How topics that exist are configured."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]

from sluice.kafka import failures
from sluice.kafka.connection import ANSWER_S, REQUEST_S, Connection

CLEANUP = "cleanup.policy"
"""What becomes of a topic's old records."""
TIMESTAMPS = "message.timestamp.type"
"""Whose clock a record's time is: the brokers' (``LogAppendTime``), or the producer's."""


def policies(
    connection: Connection, topics: Sequence[str], wanted: Collection[str] = (CLEANUP, TIMESTAMPS)
) -> dict[str, Mapping[str, str]]:
    """Return the ``wanted`` settings of each topic.

    Raises :class:`~sluice.errors.StorageUnavailable` if the brokers do not tell.
    """
    client = connection.open(AdminClient, {})
    asked = [ConfigResource(ConfigResource.Type.TOPIC, topic) for topic in topics]
    answers: dict[Any, Any] = client.describe_configs(asked, request_timeout=REQUEST_S)
    found = {}
    for resource, answer in answers.items():
        try:
            settings = answer.result(ANSWER_S)
        except KafkaException as error:
            raise failures.unavailable(f"describe topic {resource.name}", error) from error
        found[resource.name] = {name: str(settings[name].value) for name in wanted}
    return {topic: found[topic] for topic in topics}
