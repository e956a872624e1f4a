"""How topics that exist are configured."""

from collections.abc import Sequence
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]

from sluice.kafka import failures
from sluice.kafka.connection import ANSWER_S, REQUEST_S, Connection


def cleanup_policies(connection: Connection, topics: Sequence[str]) -> dict[str, str]:
    """Return ``cleanup.policy`` of each topic: what becomes of its old records.

    Raises :class:`~sluice.errors.StorageUnavailable` if the brokers do not tell.
    """
    client = connection.open(AdminClient, {})
    asked = [ConfigResource(ConfigResource.Type.TOPIC, topic) for topic in topics]
    answers: dict[Any, Any] = client.describe_configs(asked, request_timeout=REQUEST_S)
    found = {}
    for resource, answer in answers.items():
        try:
            found[resource.name] = str(answer.result(ANSWER_S)["cleanup.policy"].value)
        except KafkaException as error:
            raise failures.unavailable(f"describe topic {resource.name}", error) from error
    return {topic: found[topic] for topic in topics}
