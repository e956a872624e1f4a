"""The platform on Kafka, MongoDB and Redis while these stop, forget, refuse and are fed nonsense.

One world for all: each test hurts something, lets it heal, and has the one ledger judge what is there then.
"""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec
import poison
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from real_world import (
    CUT_EVENTS,
    KEY,
    SOURCE,
    TOPICS,
    WEIGHT,
    Asking,
    RealWorld,
    eventually,
    eventually_says,
    origin_named,
)

from sluice.errors import StorageUnavailable
from sluice.events import NewRecord, Partition
from sluice.kafka.log import KafkaLog
from sluice.redis.connection import RedisConnection
from sluice.redis.routing import RedisRouting
from sluice.routing import CANDIDATE_TTL_S
from sluice.settings import Settings
from sluice_cli.backends import Kafka, Mongo, Redis, Toxiproxy
from sluice_cli.backends.kafka.credentials import login
from sluice_trainer import checkpoint

USER = "sluice"
AWAY_S, MONGO_AWAY_S = 60.0, 20.0
APPEND_S = 12.0
"""An append is given up after 10 s; the rest is for a machine that is busy."""


class Servers:
    """The world's own Kafka, MongoDB behind a proxy, and Redis; the services find passwords in files."""

    def __init__(self, folder: Path) -> None:
        self.kafka, self.redis = Kafka(folder / "kafka", secure=True), Redis(folder / "redis")
        self.mongo, self.toxiproxy = Mongo(folder / "mongo"), Toxiproxy(folder / "toxiproxy")
        self.all = (self.kafka, self.mongo, self.redis, self.toxiproxy)
        self._kafka_file, self.redis_file = folder / "kafka.properties", folder / "redis-url"

    def start(self) -> Settings:
        """Start all; return how services are connected."""
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda server: server.start(), self.all))
        self.proxy = self.toxiproxy.proxy("mongo", self.mongo.address)
        self.kafka.set_password(USER, "first")
        self.tell_kafka("first")
        self.tell_redis(None)
        self.admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap})
        return Settings(
            kafka=self.kafka.secure_bootstrap,
            kafka_properties_file=str(self._kafka_file),
            mongo_url=f"mongodb://{self.proxy.address}",
            redis_url_file=str(self.redis_file),
        )

    def tell_kafka(self, password: str) -> None:
        """Replace the file of properties as a mounted Secret is."""
        properties = login(self.kafka.ca_file, USER, password)
        _replace(self._kafka_file, "".join(f"{name}={value}\n" for name, value in properties.items()))

    def tell_redis(self, password: str | None) -> None:
        """Replace the file of the URL."""
        credentials = f":{password}@" if password else ""
        _replace(self.redis_file, self.redis.url.replace("://", f"://{credentials}"))

    def configure(self, topic: str, name: str, value: str) -> None:
        """Set a property of a topic."""
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        self.admin.incremental_alter_configs([resource])[resource].result(20.0)

    def delete(self, topic: str) -> None:
        """Delete a topic; return when it is gone."""
        self.admin.delete_topics([topic])[topic].result(20.0)
        eventually(lambda: topic not in self.admin.list_topics(timeout=10.0).topics, f"{topic} is gone")

    def stop(self) -> None:
        """Stop all."""
        for server in self.all:
            server.resume()
            server.stop()


def _replace(file: Path, text: str) -> None:
    temporary = file.with_suffix(".new")
    temporary.write_text(text)
    temporary.replace(file)


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, or_skip: Callable[[], AbstractContextManager[None]]
) -> Iterator[Servers]:
    made = Servers(tmp_path_factory.mktemp("servers"))
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory,
    servers: Servers,
    or_skip: Callable[[], AbstractContextManager[None]],
) -> Iterator[RealWorld]:
    with or_skip():
        connected = servers.start()
    made = RealWorld(tmp_path_factory.mktemp("world"), connected, KafkaLog(servers.kafka.bootstrap))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(autouse=True)
def nobody_falls_over(world: RealWorld) -> Iterator[None]:
    """No service may end by a fault; those that a test itself ends it names in ``world.fallen``."""
    before = world.pids()
    yield
    assert {name: pid for name, pid in world.pids().items() if name not in world.restarted} == {
        name: pid for name, pid in before.items() if name not in world.restarted
    }
    world.restarted.clear()


# --- poison, repeats, disorder (cases 9, 10, 11)


@pytest.mark.smoke
def test_every_kind_of_poison_is_dead_lettered_once_and_what_lies_between_counts(
    world: RealWorld, servers: Servers
) -> None:
    producer, chance = Producer({"bootstrap.servers": servers.kafka.bootstrap}), random.Random(3)
    kinds = [
        (topic, each)
        for topic, some in zip(
            TOPICS, (poison.INTERACTIONS, poison.ANSWERS, poison.ITEMS, poison.USERS), strict=False
        )
        for each in some
    ] * 2
    chance.shuffle(kinds)
    expected = {}

    def note(topic: str, reason: str, error: object, message: object) -> None:
        assert error is None, error
        expected[topic, message.partition(), message.offset()] = reason

    with world.busy():
        for number, (topic, each) in enumerate(kinds):
            producer.produce(
                topic,
                each.value,
                each.key,
                number % 6,
                on_delivery=lambda *told, topic=topic, each=each: note(topic, each.reason, *told),
            )
            sound = {"user_id": f"between-{number % 30}", "item_id": f"item-{number % 50}"}
            producer.produce(TOPICS.interactions, msgspec.json.encode(sound), None, number % 6)
        assert producer.flush(30.0) == 0
    truth = world.judge()
    assert len(expected) == len(kinds) >= 2 * 40
    found = {}
    for letter in world.history.all(TOPICS.dead_letters):
        origin = origin_named(letter)
        found[origin] = dict(letter.headers)["reason"].decode()
        assert letter.partition.number == origin[1]
    assert found == expected
    assert truth.letters == set(expected)


def test_repeats_and_disorder_across_a_restart_count_once(world: RealWorld) -> None:
    events = [
        {"user_id": f"twice-{n % 20}", "item_id": f"item-{n % 37}", "event_id": f"twice-{n}"}
        for n in range(400)
    ]
    world.append(events[:200])
    world.caught_up()
    before = world.judge().repeated
    world.rest("profiles", "trainer")
    disorder = random.Random(5).sample(events[:200], 200)
    world.append(disorder)
    world.append(events[200:])
    world.wake("profiles", "trainer")
    world.restarted |= {"profiles", "trainer"}
    world.append(random.Random(6).sample(events, 400))
    assert world.judge().repeated >= before + 600


def test_the_trainer_ends_as_a_replay_of_its_plans(world: RealWorld) -> None:
    world.restarted.add("trainer")
    world.judge_trainer()


# --- the broker (cases 6, 31)


@pytest.mark.smoke
def test_a_broker_killed_in_the_midst_of_it_loses_nothing(world: RealWorld, servers: Servers) -> None:
    with world.busy(), Asking(world) as asking:
        asking.more()
        servers.kafka.kill()
        asking.more()
        servers.kafka.start()
        world.caught_up_with(lambda: world.ask("POST", "/v1/interactions", click("killed"))[0] == 202)
        asking.more()
    asking.judge()
    world.judge()


def test_a_broker_away_for_a_minute_and_back_with_another_password_loses_nothing(
    world: RealWorld, servers: Servers
) -> None:
    refused = []
    with world.busy(), Asking(world) as asking:
        asking.more()
        servers.kafka.set_password(USER, "second")  # logins in use stay
        asking.more()
        servers.kafka.stop()
        began = time.monotonic()
        while time.monotonic() < began + AWAY_S:
            asking.more(2)
            refused.append(world.ask("POST", "/v1/interactions", click("away")))
        servers.kafka.start()
        refused.append(world.ask("POST", "/v1/interactions", click("refused")))  # the login is the old one
        servers.tell_kafka("second")
        world.caught_up_with(lambda: world.ask("POST", "/v1/interactions", click("back"))[0] == 202)
        asking.more()
    asking.judge()
    assert {status for status, _, _ in refused} == {503}
    assert max(took_s for _, _, took_s in refused) < APPEND_S
    world.judge()


def click(user: str) -> dict[str, str]:
    return {"user_id": user, "item_id": "item-1"}


# --- the dead-letter topic (case 12)


@pytest.mark.parametrize("hurt", ["refuses", "is gone"])
def test_while_the_dead_letter_topic_takes_nothing_no_poison_is_skipped(
    world: RealWorld, servers: Servers, hurt: str
) -> None:
    world.judge()
    said = len(world.says("profiles"))
    if hurt == "refuses":
        servers.configure(TOPICS.dead_letters, "max.message.bytes", "50")
        world.restarted.add("profiles")
    else:
        world.history.begin_anew(TOPICS.dead_letters, KafkaLog(servers.kafka.bootstrap))
        servers.delete(TOPICS.dead_letters)
    place = Partition(TOPICS.interactions, 2)
    at = world.log.end_offsets(TOPICS.interactions)[place]
    world.log.append(TOPICS.interactions, [NewRecord(b"u", b"\xff poison", partition=2)])
    world.log.append(TOPICS.interactions, [NewRecord(b"behind", b"behind:item-1", partition=2)])
    eventually_says(world, "profiles", TOPICS.dead_letters, said)
    status, _, _ = world.ask("POST", "/v1/interactions", click("meanwhile"))
    assert status == 202
    eventually(lambda: world.status()["lag"] == 0, "the trainer goes on")
    assert world.committed()[place] <= at, "nothing is skipped"
    if hurt == "refuses":
        servers.configure(TOPICS.dead_letters, "max.message.bytes", "1048588")
    else:
        world.log.create_topics({TOPICS.dead_letters: 6})
    world.judge()


# --- records deleted before they were read (case 13)


def test_after_records_that_were_deleted_unread_reading_goes_on_at_the_first_one_kept(
    world: RealWorld, servers: Servers
) -> None:
    world.judge()
    world.rest("profiles", "trainer")
    world.restarted |= {"profiles", "trainer"}
    place = Partition(TOPICS.interactions, 1)
    at = world.log.end_offsets(TOPICS.interactions)[place]
    lost, kept = range(30), range(30, 70)
    for numbers in (lost, kept):
        events = [{"user_id": f"late-{n % 9}", "item_id": f"item-{n}"} for n in numbers]
        records = [NewRecord(b"late", msgspec.json.encode(each), partition=1) for each in events]
        world.log.append(TOPICS.interactions, records)
    world.history.note()
    world.history.lose(place, at, at + len(lost))
    kafka_place = TopicPartition(*place, at + len(lost))
    servers.admin.delete_records([kafka_place])[kafka_place].result(20.0)
    said = {service: len(world.says(service)) for service in ("profiles", "trainer")}
    world.wake("profiles", "trainer")
    world.judge()
    for service in ("profiles", "trainer"):
        counted = world.counted(service, "sluice_events_lost_total")
        assert counted[str(place.number), place.topic] == len(lost), service
        assert "records were deleted before they were read" in world.says(service)[said[service] :]


# --- MongoDB (case 14)


def test_while_mongodb_is_gone_or_slow_profiles_wait_and_nothing_is_skipped_or_doubled(
    world: RealWorld, servers: Servers
) -> None:
    entered = {each.id for each in world.backing.catalog(KEY).entries()}
    with world.busy(), Asking(world) as asking:
        asking.more()
        servers.mongo.stop()
        began = time.monotonic()
        world.send(2 * CUT_EVENTS)
        while time.monotonic() < began + MONGO_AWAY_S:
            asking.more(5)
        ends = world.log.end_offsets(TOPICS.interactions)
        committed = world.committed()
        assert all(committed[part] < end for part, end in ends.items()), "profiles wait"
        servers.mongo.start()
        world.caught_up_with(lambda: True)
        servers.proxy.latency(500)
        world.send(200)
        world.caught_up_with(lambda: asking.more())
        servers.proxy.timeout(0)  # nothing comes back, connections stay
        world.send(200)
        asking.more(60)
        servers.proxy.reset()
        world.caught_up_with(lambda: asking.more())
    asking.judge()
    world.judge()
    eventually(lambda: {each.id for each in world.backing.catalog(KEY).entries()} - entered, "a snapshot")


# --- Redis (cases 15, 31)


def test_a_flushed_redis_has_its_routing_again_by_the_next_renewal(
    world: RealWorld, servers: Servers
) -> None:
    rolling = world.roll()
    with world.busy(), Asking(world) as asking, redis(servers) as connection:
        asking.more()
        connection.run(lambda client: client.flushall())
        eventually(lambda: (seen := world.routing()) and seen.rollout == rolling.rollout, "routing is back")
        asking.more()
        servers.redis.set_password("other")
        connection.run(lambda client: client.client_kill_filter(_type="normal", skipme=True))
        asking.more()
        servers.tell_redis("other")
        since = time.time()
        eventually(lambda: (seen := world.routing()) and seen.renewed > since, "the controller is let in")
        asking.more()
    asking.judge()
    world.judge()
    seen = world.routing()
    assert seen is not None
    assert (seen.rollout, seen.weight) == (rolling.rollout, WEIGHT)
    with redis(servers) as connection:
        users = f"sluice:profile:{world.connected.mongo_database}.{SOURCE}:*"
        eventually(lambda: connection.run(lambda client: client.keys(users)), "profiles are cached again")


def test_without_redis_a_candidate_loses_its_users_when_it_is_not_renewed_and_gets_them_back(
    world: RealWorld, servers: Servers
) -> None:
    world.roll()
    eventually(lambda: tracks(world) == {"stable", "candidate"}, "the candidate has users")
    controller = world.pids()["controller"]
    assert controller is not None
    with Asking(world) as asking:
        os.kill(controller, signal.SIGSTOP)
        rolling = world.routing()
        assert rolling is not None
        with redis(servers) as connection:  # as if it had been silent for long
            late = msgspec.structs.replace(rolling, renewed=time.time() - CANDIDATE_TTL_S + 8.0)
            RedisRouting(connection, KEY).publish(late)
            asking.more()
        servers.redis.stop()
        eventually(lambda: tracks(world) == {"stable"}, "the candidate's weight ends")
        world.send(100)
        eventually(world.profiled, "profiles go on; the trainer waits for its routing")
        servers.redis.start()
        os.kill(controller, signal.SIGCONT)
        eventually(lambda: tracks(world) == {"stable", "candidate"}, "the candidate has its users again")
    asking.judge()
    world.judge()


@contextmanager
def redis(servers: Servers) -> Iterator[RedisConnection]:
    """Lend a connection as services have one."""
    connection = RedisConnection(servers.redis_file.read_text)
    try:
        yield connection
    finally:
        connection.close()


def tracks(world: RealWorld) -> set[str]:
    """Return whom users are answered by."""
    answers = [world.ask("GET", f"/v1/recommendations/sent-{number}?n=5") for number in range(40)]
    return {document["track"] for _, document, _ in answers}


# --- the end: what all of it left, and a topic created anew (case 13)


def test_after_everything_the_trainer_is_what_a_replay_of_its_plans_makes(world: RealWorld) -> None:
    world.restarted.add("trainer")
    world.judge_trainer()


def test_of_a_topic_created_anew_a_trainer_learns_nothing_until_somebody_has_looked(
    world: RealWorld, servers: Servers
) -> None:
    world.judge()
    world.rest("profiles", "trainer")
    world.restarted |= {"profiles", "trainer"}
    learned = checkpointed(world)
    servers.delete(TOPICS.interactions)
    world.log.create_topics({TOPICS.interactions: 6})
    eventually(lambda: appended(world), "the new topic is known")
    said = len(world.says("trainer"))
    world.wake("trainer")
    eventually_says(world, "trainer", "cut off or created anew", said)
    with Asking(world) as asking:
        asking.more()
    asking.judge()
    world.rest("trainer")
    assert checkpointed(world) == learned


def checkpointed(world: RealWorld) -> tuple[int, dict[int, int]]:
    """Return how much the trainer has learned, and up to where."""
    final = checkpoint.newest(max(world.place.glob("epoch-*")))
    assert final is not None
    return final.position.interactions, final.position.offsets


def appended(world: RealWorld) -> bool:
    """Append a record to each partition, some perhaps twice; return False while Kafka cannot take them."""
    with contextlib.suppress(StorageUnavailable):
        world.log.append(TOPICS.interactions, [NewRecord(b"u", b"new:item-1", partition=n) for n in range(6)])
        return True
    return False
