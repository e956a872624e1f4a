"""Options that name Kafka, MongoDB, Redis and a snapshot store instead of the embedded ones."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice_cli.commands.shell import InputError

if TYPE_CHECKING:
    from sluice.settings import Settings

KafkaOption = Annotated[
    str | None,
    typer.Option("--kafka", envvar="SLUICE_KAFKA", help="HOST:PORT of Kafka brokers, comma separated."),
]
KafkaPropertiesOption = Annotated[
    Path | None,
    typer.Option(
        "--kafka-properties",
        envvar="SLUICE_KAFKA_PROPERTIES_FILE",
        help="File of librdkafka properties, name=value lines, for TLS and SASL.",
    ),
]
MongoOption = Annotated[
    str | None,
    typer.Option(
        "--mongo", envvar="SLUICE_MONGO_URL", help="mongodb:// URL; with a password, use --mongo-file."
    ),
]
MongoFileOption = Annotated[
    Path | None,
    typer.Option("--mongo-file", envvar="SLUICE_MONGO_URL_FILE", help="File that holds the MongoDB URL."),
]
MongoDatabaseOption = Annotated[
    str,
    typer.Option("--mongo-database", envvar="SLUICE_MONGO_DATABASE", help="Name of the MongoDB database."),
]
RedisOption = Annotated[
    str | None,
    typer.Option(
        "--redis", envvar="SLUICE_REDIS_URL", help="redis:// URL; with a password, use --redis-file."
    ),
]
RedisFileOption = Annotated[
    Path | None,
    typer.Option("--redis-file", envvar="SLUICE_REDIS_URL_FILE", help="File that holds the Redis URL."),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="SLUICE_STORE",
        help="Where snapshots lie: a folder, or a URL such as s3://bucket/prefix.",
    ),
]
DEFAULT_DATABASE = "sluice"


def connections(
    *,
    kafka: str | None,
    kafka_properties: Path | None,
    mongo: str | None,
    mongo_file: Path | None,
    mongo_database: str = DEFAULT_DATABASE,
    redis: str | None,
    redis_file: Path | None,
    store: str | None = None,
) -> "Settings":
    """Return the settings that these options stand for.

    Raises :class:`InputError` where a file is missing, two options contradict each other, or one lacks its partner.
    """
    from sluice.settings import Settings

    _check_addresses(kafka)
    for flag, file in (
        ("--kafka-properties", kafka_properties),
        ("--mongo-file", mongo_file),
        ("--redis-file", redis_file),
    ):
        if file is not None and not file.is_file():
            raise InputError(f"{flag} {file}: there is no such file; name an existing one")
    for flag, given, file in (("--mongo", mongo, mongo_file), ("--redis", redis, redis_file)):
        if given and file:
            raise InputError(f"{flag} and {flag}-file are both given; give one of them")
    if bool(mongo or mongo_file) != bool(redis or redis_file):
        missing = "--redis" if mongo or mongo_file else "--mongo"
        raise InputError(f"{missing} is missing; MongoDB and Redis are used together, or neither")
    if kafka_properties and not kafka:
        raise InputError("--kafka-properties is given without --kafka; give both, or neither")
    return Settings(
        kafka=kafka or "",
        kafka_properties_file=str(kafka_properties or ""),
        mongo_url=mongo or "",
        mongo_url_file=str(mongo_file or ""),
        mongo_database=mongo_database,
        redis_url=redis or "",
        redis_url_file=str(redis_file or ""),
        store=store or "",
    )


def _check_addresses(kafka: str | None) -> None:
    for address in kafka.split(",") if kafka else ():
        host, _, port = address.strip().rpartition(":")
        if not host or not port.isdigit():
            raise InputError(f"--kafka {address.strip()} is no HOST:PORT; give one such as 127.0.0.1:9092")
