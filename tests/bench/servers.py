"""Kafka, MongoDB and Redis for one bench: those that ``SLUICE_TEST_*`` name, or ones of its own, started anew."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sluice.settings import Settings
from sluice_cli.backends import Kafka, Mongo, Redis
from sluice_cli.backends.server import Server


def fresh(kind: str) -> str:
    """Return a name that nothing on a shared server has yet."""
    return f"{kind}-{secrets.token_hex(4)}"


@contextmanager
def servers(kafka: bool = True) -> Iterator[Settings]:
    """Give settings that name MongoDB, Redis and, if wanted, Kafka; what was started or made is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-servers-") as folder, ExitStack() as stack:
        place = Path(folder)
        settings = Settings(
            kafka=_address("SLUICE_TEST_KAFKA", Kafka(place / "kafka"), "bootstrap", stack) if kafka else "",
            mongo_url=_address("SLUICE_TEST_MONGO_URL", Mongo(place / "mongo"), "url", stack),
            redis_url=_address("SLUICE_TEST_REDIS_URL", Redis(place / "redis"), "url", stack),
            mongo_database=fresh("bench"),
        )
        stack.callback(_drop, settings)
        yield settings


@contextmanager
def broker() -> Iterator[str]:
    """Give Kafka's ``host:port`` alone."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-servers-") as folder, ExitStack() as stack:
        yield _address("SLUICE_TEST_KAFKA", Kafka(Path(folder) / "kafka"), "bootstrap", stack)


def _address(variable: str, server: Server, attribute: str, stack: ExitStack) -> str:
    if there := os.environ.get(variable):
        return there
    server.start()
    stack.callback(server.stop)
    return str(getattr(server, attribute))


def _drop(settings: Settings) -> None:
    """Delete the database; what Redis holds expires by itself."""
    from pymongo import MongoClient

    with MongoClient[dict[str, object]](settings.mongo_url) as client:
        client.drop_database(settings.mongo_database)
