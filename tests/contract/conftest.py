"""The adapters that every contract suite runs on.

One table for each port: name of the adapter → factory. A factory opens the adapter at a place (an own, empty
folder; an adapter on a server takes its name as namespace); the same place opened again, by another process
too, holds the same data. A new adapter joins by one line in each table.
"""

import threading
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from sluice.embedded.log import EmbeddedLog
from sluice.embedded.models import EmbeddedCatalog, EmbeddedEvidence, EmbeddedRouting, model_database
from sluice.embedded.sources import EmbeddedItems, EmbeddedPopularity, EmbeddedProfiles, source_database

Factory = Callable[[Path], Any]

EVENT_LOGS: dict[str, Factory] = {
    "embedded": lambda place: EmbeddedLog(place / "log.db"),
    "kafka": lambda place: _kafka_log(),
}
PROFILES: dict[str, Factory] = {
    "embedded": lambda place: EmbeddedProfiles(source_database(place / "source.db")),
    "cached": lambda place: _cached("CachedProfiles", PROFILES, place),
    "mongo": lambda place: _mongo("MongoProfiles", place),
}
ITEMS: dict[str, Factory] = {
    "embedded": lambda place: EmbeddedItems(source_database(place / "source.db")),
    "cached": lambda place: _cached("CachedItems", ITEMS, place),
    "mongo": lambda place: _mongo("MongoItems", place),
}
POPULARITY: dict[str, Factory] = {
    "embedded": lambda place: EmbeddedPopularity(source_database(place / "source.db")),
    "cached": lambda place: _cached("CachedPopularity", POPULARITY, place),
    "mongo": lambda place: _mongo("MongoPopularity", place),
}
CATALOGS: dict[str, Factory] = {
    "embedded": lambda place: EmbeddedCatalog(model_database(place / "model.db")),
    "mongo": lambda place: _mongo("MongoCatalog", place),
}
EVIDENCE: dict[str, Factory] = {
    "embedded": lambda place: EmbeddedEvidence(model_database(place / "model.db")),
    "mongo": lambda place: _mongo("MongoEvidence", place),
}
ROUTING: dict[str, Factory] = {
    "embedded": lambda place: EmbeddedRouting(model_database(place / "model.db")),
    "redis": lambda place: _redis_routing(place),
}

SERVERS: dict[str, tuple[str, ...]] = {
    "cached": ("redis_url",),
    "mongo": ("mongo_url",),
    "redis": ("redis_url",),
    "kafka": ("kafka",),
}
"""The fixtures of the servers that an adapter of this name needs; a factory finds their values in ``ADDRESSES``."""
ADDRESSES: dict[str, str] = {}


def named(place: Path) -> str:
    """Return a name for a place that no other place on a shared server has, of earlier runs neither."""
    return blake2b(f"{RUN}{place}".encode(), digest_size=8).hexdigest()


RUN = uuid.uuid4().hex


def _kafka_log() -> Any:
    """Return the shared cluster's log: its topics and groups are everybody's, so tests name their own."""
    from sluice.kafka.log import KafkaLog

    return KafkaLog(ADDRESSES["kafka"])


@cache
def _redis(url: str) -> Any:
    from sluice.redis.connection import RedisConnection

    return RedisConnection(lambda: url)


def _cached(name: str, table: dict[str, Factory], place: Path) -> Any:
    """Return a cache over the embedded adapter."""
    from sluice.redis import caches

    return getattr(caches, name)(table["embedded"](place), _redis(ADDRESSES["redis_url"]), named(place))


@cache
def _mongo_database(url: str) -> Any:
    from sluice.mongo.database import MongoDatabase

    return MongoDatabase(lambda: url, f"sluice-contract-{RUN[:8]}")


def _mongo(name: str, place: Path) -> Any:
    from sluice.mongo import models, sources

    adapter = getattr(sources, name, None) or getattr(models, name)
    return adapter(_mongo_database(ADDRESSES["mongo_url"]), named(place))


@pytest.fixture(scope="session", autouse=True)
def no_databases_left() -> Iterator[None]:
    """Delete what these tests wrote to a MongoDB that may be somebody's."""
    yield
    if "mongo_url" in ADDRESSES:
        database = _mongo_database(ADDRESSES["mongo_url"])
        database.run("any", lambda each: each.database.client.drop_database(each.database.name))
        database.close()


@pytest.fixture(scope="session", autouse=True)
def no_redis_connections_left() -> Iterator[None]:
    yield
    if _redis.cache_info().currsize:
        _redis(ADDRESSES["redis_url"]).close()


def _redis_routing(place: Path) -> Any:
    from sluice.redis.routing import RedisRouting

    return RedisRouting(_redis(ADDRESSES["redis_url"]), f"default.{named(place)}")


class Port:
    """One adapter of a port: ``open()`` opens it at this test's place, ``elsewhere()`` at a new one."""

    addresses = ADDRESSES

    def __init__(self, name: str, factory: Factory, root: Path) -> None:
        self.name, self._factory, self._root = name, factory, root
        self._places = 0
        self.place = self._new_place()

    def _new_place(self) -> Path:
        self._places += 1
        place = self._root / f"place-{self._places}"
        place.mkdir()
        return place

    def own(self, name: str) -> str:
        """A topic or group of this test's alone, on a shared server too."""
        return f"{name}-{named(self.place)}"

    def open(self) -> Any:
        return self._factory(self.place)

    def elsewhere(self) -> Any:
        return self._factory(self._new_place())


def _port(table: dict[str, Factory]) -> Any:
    @pytest.fixture(params=sorted(table))
    def port(request: pytest.FixtureRequest, tmp_path: Path) -> Port:
        for fixture in SERVERS.get(request.param, ()):
            ADDRESSES[fixture] = request.getfixturevalue(fixture)
        return Port(request.param, table[request.param], tmp_path)

    return port


event_log_port = _port(EVENT_LOGS)
profiles_port = _port(PROFILES)
items_port = _port(ITEMS)
popularity_port = _port(POPULARITY)
catalog_port = _port(CATALOGS)
evidence_port = _port(EVIDENCE)
routing_port = _port(ROUTING)


@pytest.fixture
def event_log(event_log_port: Port) -> Any:
    return event_log_port.open()


@pytest.fixture
def profiles(profiles_port: Port) -> Any:
    return profiles_port.open()


@pytest.fixture
def items(items_port: Port) -> Any:
    return items_port.open()


@pytest.fixture
def popularity(popularity_port: Port) -> Any:
    return popularity_port.open()


@pytest.fixture
def catalog(catalog_port: Port) -> Any:
    return catalog_port.open()


@pytest.fixture
def evidence(evidence_port: Port) -> Any:
    return evidence_port.open()


@pytest.fixture
def routing_store(routing_port: Port) -> Any:
    return routing_port.open()


@pytest.fixture
def at_once() -> Iterator[Callable[..., list[Any]]]:
    """Run functions in a thread each, all released together; returns what each returned or raised."""

    def run(*works: Callable[[], Any]) -> list[Any]:
        gate = threading.Barrier(len(works))
        results: list[Any] = [None] * len(works)

        def one(index: int, work: Callable[[], Any]) -> None:
            gate.wait()
            try:
                results[index] = work()
            except Exception as error:
                results[index] = error

        threads = [threading.Thread(target=one, args=pair) for pair in enumerate(works)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        return results

    return run
