"""What a failure of Kafka's client means to those who use the event log."""

from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from sluice.errors import SluiceError, StorageUnavailable

UNKNOWN_TOPIC: Final = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
)
OUT_OF_RANGE: Final = frozenset(
    {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION}
)
LEADERLESS: Final = frozenset(
    {KafkaError._NOENT, KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH}
)
NOT_ALLOWED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
PASSING: Final = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._WAIT_COORD,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.NOT_CONTROLLER,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.REBALANCE_IN_PROGRESS,
    }
)
"""Worth asking again at once: someone is being elected, or a connection was closed."""


def code_of(error: BaseException) -> int:
    """Return Kafka's code of an exception."""
    told: Any = error.args[0] if error.args else None
    return told.code() if isinstance(told, KafkaError) else KafkaError._FAIL


class UnknownTopic(StorageUnavailable):
    """A topic, or a partition of one, that nobody has created, or that was deleted."""


def unknown_topic(topic: str) -> SluiceError:
    """Return the error for a topic that nobody has created."""
    return UnknownTopic(f"topic {topic} does not exist in Kafka; create it with sluice prepare")


def too_large(topic: str, size: int, limit: int) -> SluiceError:
    """Return the error for a record that the log does not take."""
    return SluiceError(
        f"a record of {size} bytes for {topic} is larger than Kafka takes ({limit}); send less, or raise"
        " message.max.bytes in SLUICE_KAFKA_PROPERTIES_FILE and at the brokers"
    )


def unavailable(what: str, error: KafkaError | KafkaException) -> StorageUnavailable:
    """Return the error for ``what`` could not be done."""
    told = error.args[0] if isinstance(error, KafkaException) else error
    return StorageUnavailable(f"Kafka could not {what}: {_sentence(told)}")


def _sentence(error: Any) -> str:
    if not isinstance(error, KafkaError):
        return str(error)
    if error.code() in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED):
        return "the brokers refuse the login; check user and password in SLUICE_KAFKA_PROPERTIES_FILE"
    if error.code() in NOT_ALLOWED:
        return f"{error.str()}; give this user the right"
    return error.str().removeprefix("Broker: ").removeprefix("Local: ").lower()
