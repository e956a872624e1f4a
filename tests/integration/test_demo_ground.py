"""A demo on servers of somebody's: names of its own, and nothing left of it at the end."""

import time
from pathlib import Path

import msgspec
import pymongo
import pytest
import redis
from confluent_kafka.admin import AdminClient

from sluice import models, prepare
from sluice.backing import Backing
from sluice.routing import Routing
from sluice.settings import Settings
from sluice_cli.demo import ground as grounds
from sluice_cli.demo.ground import ground
from sluice_cli.demo.options import DemoOptions
from sluice_cli.demo.run import sample


class Servers:
    """What lies on the servers whose name holds a word."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def topics(self, word: str) -> set[str]:
        client = AdminClient({"bootstrap.servers": self.settings.kafka})
        return {name for name in client.list_topics(timeout=10.0).topics if word in name}

    def databases(self, word: str) -> set[str]:
        with pymongo.MongoClient(self.settings.mongo_url) as client:
            return {name for name in client.list_database_names() if word in name}

    def keys(self, word: str) -> set[str]:
        with redis.Redis.from_url(self.settings.redis_url) as client:
            return {key.decode() for key in client.scan_iter(match=f"*{word}*")}


@pytest.fixture
def servers(kafka: str, mongo_url: str, redis_url: str) -> Servers:
    return Servers(Settings(kafka=kafka, mongo_url=mongo_url, redis_url=redis_url))


def test_a_run_leaves_nothing_and_meets_no_other(servers: Servers, tmp_path: Path) -> None:
    model = models.load(sample())
    with ground(DemoOptions(connected=servers.settings), tmp_path) as standing:
        word, settings = standing.suffix, standing.settings
        metadata = msgspec.structs.replace(model.metadata, name=f"demo{word}")
        source = msgspec.structs.replace(model.spec.source, name=f"shop{word}")
        spec = msgspec.structs.replace(model.spec, source=source)
        own = msgspec.structs.replace(model, metadata=metadata, spec=spec)
        told = prepare.prepare(settings, [own])
        assert [each for each in told if each.warning] == []
        backing = Backing(settings)
        backing.routing(own.key).publish(
            Routing(epoch=1, rollout="r", stable=None, candidate=None, weight=0, renewed=0.0)
        )
        backing.catalog(own.key).claim()
        backing.close()
        assert len(servers.topics(word)) == 5
        assert servers.databases(word) == {f"sluice-demo{word}"}
        assert servers.keys(word) == {f"sluice:routing:default.demo{word}"}
        with ground(DemoOptions(connected=servers.settings), tmp_path) as other:
            assert other.suffix != word
        assert len(servers.topics(word)) == 5, "another run's end drops its own alone"
    assert (servers.databases(word), servers.keys(word)) == (set(), set())
    deadline = time.monotonic() + 30.0
    while topics := servers.topics(word):  # the broker lists them for a moment longer
        assert time.monotonic() < deadline, topics


def test_servers_that_went_away_do_not_fail_a_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grounds, "DROP_S", 0.5)
    gone = Settings(kafka="127.0.0.1:9", mongo_url="mongodb://127.0.0.1:9", redis_url="redis://127.0.0.1:9")
    with ground(DemoOptions(connected=gone), tmp_path) as standing:
        assert standing.settings.mongo_database == f"sluice-demo{standing.suffix}"


def test_without_servers_all_is_embedded_under_plain_names(tmp_path: Path) -> None:
    with ground(DemoOptions(), tmp_path) as standing:
        assert (standing.suffix, standing.settings.kafka, standing.settings.mongo_url) == ("", "", "")
