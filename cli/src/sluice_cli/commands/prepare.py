"""``sluice prepare``: the topics and indexes that a model needs, made once."""

from pathlib import Path
from typing import Annotated

import typer

from sluice_cli.commands.connecting import (
    DEFAULT_DATABASE,
    KafkaOption,
    KafkaPropertiesOption,
    MongoDatabaseOption,
    MongoFileOption,
    MongoOption,
    RedisFileOption,
    RedisOption,
    connections,
)
from sluice_cli.commands.shell import InputError, quiet_logs


def prepare(
    file: Annotated[
        list[Path], typer.Option("-f", "--file", help="RecommenderModel file; repeat for several.")
    ],
    kafka: KafkaOption = None,
    kafka_properties: KafkaPropertiesOption = None,
    mongo: MongoOption = None,
    mongo_file: MongoFileOption = None,
    mongo_database: MongoDatabaseOption = DEFAULT_DATABASE,
    redis: RedisOption = None,
    redis_file: RedisFileOption = None,
    partitions: Annotated[
        int, typer.Option("--partitions", min=1, max=10_000, help="Partitions of each topic that is created.")
    ] = 6,
) -> None:
    """Create the topics and indexes of models on Kafka and MongoDB. What exists is left as it is.

    Doing it again changes nothing. Warnings, on stderr, ask you to change what exists.

    \b
    Examples:
      sluice prepare -f model.yaml --kafka broker:9092 --mongo-file mongo.url --redis-file redis.url
      sluice prepare -f home.yaml -f home-als.yaml --kafka broker:9092 --partitions 12
    """
    settings = connections(
        kafka=kafka,
        kafka_properties=kafka_properties,
        mongo=mongo,
        mongo_file=mongo_file,
        mongo_database=mongo_database,
        redis=redis,
        redis_file=redis_file,
    )
    if not (settings.kafka or settings.mongo_url or settings.mongo_url_file):
        raise InputError("there is nothing to prepare; give --kafka, or --mongo and --redis, or all three")
    from sluice import prepare as preparing
    from sluice_cli import given

    quiet_logs()
    models = [each.model for each in given.load(file)]
    for told in preparing.prepare(settings, models, partitions):
        typer.echo(f"warning: {told.sentence}" if told.warning else told.sentence, err=told.warning)
