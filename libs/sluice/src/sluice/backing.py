"""What a process stands on: event log, stores, cache and snapshots, real or embedded as the settings say.

The one place that knows which adapter is behind a port. Adapters are imported when they are chosen, so that a
platform on one machine needs neither Kafka's nor MongoDB's nor Redis' client.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, partial
from typing import TYPE_CHECKING

from sluice import credentials
from sluice.catalog import Catalog
from sluice.embedded.database import Database
from sluice.embedded.home import Home
from sluice.embedded.models import EmbeddedCatalog, EmbeddedEvidence, EmbeddedRouting
from sluice.embedded.sources import EmbeddedItems, EmbeddedPopularity, EmbeddedProfiles
from sluice.errors import InvalidSetting
from sluice.events import EventLog
from sluice.evidence import EvidenceStore
from sluice.items import Items, Popularity
from sluice.profile import Profiles
from sluice.routing import RoutingStore
from sluice.settings import Settings
from sluice.snapshot.store import SnapshotStore, open_store

if TYPE_CHECKING:
    from sluice.mongo.database import MongoDatabase
    from sluice.redis.connection import RedisConnection

Together = Callable[[], AbstractContextManager[object]]


class Backing:
    """Opens ports for one process; make it after the fork. Models are named ``<namespace>.<name>``.

    Raises :class:`InvalidSetting` if MongoDB is given without Redis, or the other way round.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.home = Home(settings.home_path)
        self._sources: dict[str, Database] = {}
        self._mongo_url = credentials.credential(
            settings.mongo_url, settings.mongo_url_file, "SLUICE_MONGO_URL"
        )
        self._redis_url = credentials.credential(
            settings.redis_url, settings.redis_url_file, "SLUICE_REDIS_URL"
        )
        if (self._mongo_url is None) != (self._redis_url is None):
            missing = "SLUICE_MONGO_URL" if self._mongo_url is None else "SLUICE_REDIS_URL"
            raise InvalidSetting(f"{missing} is not set; MongoDB and Redis are used together, or neither")

    @property
    def shared(self) -> bool:
        """Whether other machines see what is stored."""
        return self._mongo_url is not None

    def log(self, source: str) -> EventLog:
        """Return the event log that holds the topics of ``source``."""
        if not self._settings.kafka:
            return self.home.log(source)
        from sluice.kafka.log import KafkaLog

        file = self._settings.kafka_properties_file
        return KafkaLog(self._settings.kafka, partial(credentials.properties, file))

    @cached_property
    def _mongo(self) -> "MongoDatabase":
        """The database; raises :class:`InvalidSetting` if its URL is unusable now; one that becomes so is an outage."""
        from sluice.mongo.client import require_usable
        from sluice.mongo.database import MongoDatabase

        assert self._mongo_url is not None
        require_usable(self._mongo_url(), self._settings.mongo_database)
        return MongoDatabase(self._mongo_url, self._settings.mongo_database)

    @cached_property
    def _redis(self) -> "RedisConnection":
        from sluice.redis.connection import RedisConnection

        assert self._redis_url is not None
        return RedisConnection(self._redis_url)

    def _source(self, name: str) -> Database:
        """Return the one database of a source: a transaction over its stores is one of this object's connections."""
        return self._sources.setdefault(name, self.home.source(name))

    def _space(self, source: str) -> str:
        """Return the name of what a cache holds of: another database's source of that name is another."""
        return f"{self._settings.mongo_database}.{source}"

    def profiles(self, source: str) -> Profiles:
        """Return the profiles of ``source``."""
        if not self.shared:
            return EmbeddedProfiles(self._source(source))
        from sluice.mongo.sources import MongoProfiles
        from sluice.redis.caches import CachedProfiles

        return CachedProfiles(MongoProfiles(self._mongo, source), self._redis, self._space(source))

    def items(self, source: str) -> Items:
        """Return the items of ``source``."""
        if not self.shared:
            return EmbeddedItems(self._source(source))
        from sluice.mongo.sources import MongoItems
        from sluice.redis.caches import CachedItems

        return CachedItems(MongoItems(self._mongo, source), self._redis, self._space(source))

    def popularity(self, source: str) -> Popularity:
        """Return the popularity of the items of ``source``."""
        if not self.shared:
            return EmbeddedPopularity(self._source(source))
        from sluice.mongo.sources import MongoPopularity
        from sluice.redis.caches import CachedPopularity

        return CachedPopularity(MongoPopularity(self._mongo, source), self._redis, self._space(source))

    def together(self, source: str) -> Together:
        """Return what makes several writes to the stores of ``source`` one transaction, where there are any."""
        return nullcontext if self.shared else self._source(source).writing

    def catalog(self, model: str) -> Catalog:
        """Return the catalog of ``model``."""
        if not self.shared:
            return EmbeddedCatalog(self.home.model(model))
        from sluice.mongo.models import MongoCatalog

        return MongoCatalog(self._mongo, model)

    def evidence(self, model: str) -> EvidenceStore:
        """Return the evidence of ``model``."""
        if not self.shared:
            return EmbeddedEvidence(self.home.model(model))
        from sluice.mongo.models import MongoEvidence

        return MongoEvidence(self._mongo, model)

    def experiment(self, name: str) -> EvidenceStore:
        """Return the evidence of an experiment between models."""
        return self.evidence(f"experiment.{name}")

    def routing(self, model: str) -> RoutingStore:
        """Return the routing of ``model``."""
        if not self.shared:
            return EmbeddedRouting(self.home.model(model))
        from sluice.redis.routing import RedisRouting

        return RedisRouting(self._redis, model)

    def snapshots(self, model: str) -> SnapshotStore:
        """Return the snapshot store of ``model``."""
        return open_store(self._settings.store or self.home.folder / "snapshots", model, self.home.folder)

    def close(self) -> None:
        """Give the connections to MongoDB and Redis back; for commands, a service's end with it."""
        for name in ("_mongo", "_redis"):
            if (made := self.__dict__.get(name)) is not None:
                made.close()
