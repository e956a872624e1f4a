"""Routing as it lies in Redis, where people and other programs may read it."""

import json
import uuid

import pytest

from sluice.errors import StaleEpoch, StorageUnavailable
from sluice.redis.connection import RedisConnection
from sluice.redis.routing import RedisRouting
from sluice.routing import Routing


class World:
    def __init__(self, url):
        self.model = f"default.{uuid.uuid4().hex}"
        self.connection = RedisConnection(lambda: url)
        self.store = RedisRouting(self.connection, self.model)

    @property
    def key(self):
        return f"sluice:routing:{self.model}"

    def put(self, value):
        self.connection.run(lambda client: client.set(self.key, value))


@pytest.fixture
def world(redis_url):
    world = World(redis_url)
    yield world
    world.connection.close()


def routing(epoch):
    return Routing(epoch=epoch, rollout="r", stable="s1", candidate="s2", weight=5, renewed=1.5)


def test_it_is_json_under_the_models_key_and_does_not_expire(world):
    world.store.publish(routing(7))
    stored = json.loads(world.connection.run(lambda client: client.get(world.key)))
    assert (stored["epoch"], stored["stable"], stored["candidate"], stored["weight"]) == (7, "s1", "s2", 5)
    assert world.connection.run(lambda client: client.ttl(world.key)) == -1


def test_epochs_are_compared_exactly_as_far_as_numbers_go(world):
    newest = 2**53 - 1
    world.store.publish(routing(newest))
    with pytest.raises(StaleEpoch, match=str(newest)):
        world.store.publish(routing(newest - 1))
    assert world.store.read().epoch == newest


def test_what_another_release_adds_is_passed_over(world):
    world.store.publish(routing(7))
    stored = json.loads(world.connection.run(lambda client: client.get(world.key)))
    world.put(json.dumps({**stored, "added": [1]}))
    assert world.store.read() == routing(7)


@pytest.mark.parametrize("junk", ["", "no json", "[]", "7", '{"epoch": "x"}', "null"])
def test_what_is_no_routing_is_told_and_replaced_by_the_next_one(world, junk):
    world.put(junk)
    with pytest.raises(StorageUnavailable, match="holds no routing"):
        world.store.read()
    world.store.publish(routing(1))
    assert world.store.read() == routing(1)
