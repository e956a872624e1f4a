"""What a demo run stands on: all embedded, servers of its own (``--real``), or somebody's."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import structlog

from sluice import credentials
from sluice.settings import Settings
from sluice_cli import connections
from sluice_cli.demo.options import DemoOptions

OWN_DATABASE: Final = "sluice-demo"
DROP_S: float = 10.0
"""So long a server that does not answer keeps the end waiting."""
_LOG = structlog.get_logger()


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """``settings`` connect the services. ``suffix`` ends the names of this run's model and source.

    On servers of somebody's, names must not meet an earlier run's data.
    """

    settings: Settings
    suffix: str = ""


@contextmanager
def ground(options: DemoOptions, home: Path) -> Iterator[Ground]:
    """Give what the run stands on; what was started is stopped and what was made is dropped at the end."""
    if options.real:
        with _own(home) as made:
            yield made
    elif connections.connected(options.connected):
        with _lent(options.connected, home) as made:
            yield made
    else:
        yield Ground(settings=connections.NONE)


@contextmanager
def _own(home: Path) -> Iterator[Ground]:
    from sluice_cli.backends import Backends

    with Backends(home / "backends") as backends:
        settings = Settings(
            kafka=backends.kafka.bootstrap,
            mongo_url=backends.mongo.url,
            mongo_database=OWN_DATABASE,
            redis_url=backends.redis.url,
        )
        yield Ground(settings=connections.chosen(home, settings))


@contextmanager
def _lent(given: Settings, home: Path) -> Iterator[Ground]:
    suffix = f"-{secrets.token_hex(4)}"
    database = f"{OWN_DATABASE}{suffix}"
    settings = connections.chosen(home, msgspec.structs.replace(given, mongo_database=database))
    try:
        yield Ground(settings=settings, suffix=suffix)
    finally:
        for drop in (_drop_topics, _drop_database, _drop_keys):
            try:
                drop(settings, suffix)
            except Exception as error:  # the run is over; what could be dropped is
                _LOG.error(
                    "what the demo made could not be dropped", suffix=suffix, kind=type(error).__name__
                )


def _drop_topics(settings: Settings, suffix: str) -> None:
    if not settings.kafka:
        return
    from confluent_kafka.admin import AdminClient

    from sluice.kafka.connection import Connection

    client = Connection(settings.kafka, lambda: credentials.properties(settings.kafka_properties_file)).open(
        AdminClient, {}
    )
    names = client.list_topics(timeout=DROP_S).topics
    ours = [name for name in names if f"{suffix}." in name]
    for deleted in (client.delete_topics(ours) if ours else {}).values():
        deleted.result()


def _drop_database(settings: Settings, _suffix: str) -> None:
    url = credentials.credential(settings.mongo_url, settings.mongo_url_file, "SLUICE_MONGO_URL")
    if url is None:
        return
    import pymongo

    with pymongo.MongoClient[dict[str, object]](url(), serverSelectionTimeoutMS=int(DROP_S * 1e3)) as client:
        client.drop_database(settings.mongo_database)


def _drop_keys(settings: Settings, suffix: str) -> None:
    url = credentials.credential(settings.redis_url, settings.redis_url_file, "SLUICE_REDIS_URL")
    if url is None:
        return
    from sluice.redis.connection import RedisConnection

    connection = RedisConnection(url)
    keys = connection.run(lambda client: list(client.scan_iter(match=f"sluice:*{suffix}*", count=1_000)))
    if keys:
        connection.run(lambda client: client.unlink(*keys))
    connection.close()
