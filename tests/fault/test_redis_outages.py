"""Redis stopped, frozen, flushed, restarted, with another password, with TLS: what callers of the adapters see."""

import os
import threading
import time

import pytest
from structlog.testing import capture_logs

from sluice.embedded.sources import EmbeddedItems, EmbeddedPopularity, EmbeddedProfiles, source_database
from sluice.errors import StaleEpoch, StorageUnavailable
from sluice.events import Partition
from sluice.items import Gain
from sluice.profile import Applied
from sluice.records import Interaction, Item
from sluice.redis.caches import CachedItems, CachedPopularity, CachedProfiles
from sluice.redis.connection import REST_S, RedisConnection
from sluice.redis.routing import RedisRouting
from sluice.routing import Routing
from sluice_cli.backends import BackendUnavailable, Redis

PART = Partition("shop.interactions", 0)
DEADLINE_S = 10.0
BOUND_S = 1.0
"""What a call may take at most with Redis in trouble; a slow machine included."""


@pytest.fixture
def make_redis(tmp_path):
    """Return what starts a Redis of this test's own."""
    started = []

    def make(**options):
        server = Redis(tmp_path / f"redis-{len(started)}", **options)
        try:
            server.start()
        except BackendUnavailable as error:
            if os.environ.get("SLUICE_REQUIRE_ALL"):
                pytest.fail(str(error))
            pytest.skip(str(error))
        started.append(server)
        return server

    yield make
    for server in started:
        server.resume()
        server.stop()


class World:
    """Caches over embedded stores, on a Redis that may be hurt."""

    def __init__(self, server, folder, connection):
        self.server, self.connection = server, connection
        database = source_database(folder / "source.db")
        self.stored = EmbeddedItems(database)
        self.items = CachedItems(self.stored, self.connection, "shop")
        self.profiles = CachedProfiles(EmbeddedProfiles(database), self.connection, "shop")
        self.popularity = CachedPopularity(EmbeddedPopularity(database), self.connection, "shop")

    def work(self, offset):
        """Write and read everything once; what is read must be what was written."""
        user, item = f"u{offset}", f"i{offset}"
        event = Applied(offset, 0, Interaction(user_id=user, item_id=item))
        self.profiles.apply(PART, {user: [event]})
        self.items.put([Item(item_id=item, title=str(offset))])
        self.popularity.apply(PART, [Gain(offset, item, 1.0)])
        assert self.profiles.get(user).seen == (item,)
        assert self.items.get([item])[item].title == str(offset)
        assert dict(self.popularity.top(100))[item] == 1.0

    def is_back(self):
        return is_back(self.connection)


def is_back(connection):
    try:
        return connection.run(lambda client: client.ping())
    except StorageUnavailable:
        return False


@pytest.fixture
def connect():
    """Return what makes connections that are closed at the end."""
    made = []

    def connect(url):
        made.append(RedisConnection(url))
        return made[-1]

    yield connect
    for connection in made:
        connection.close()


@pytest.fixture
def world(make_redis, connect, tmp_path):
    server = make_redis()
    return World(server, tmp_path, connect(lambda: server.url))


def until(holds, what):
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.parametrize("hurt", ["stop", "kill", "pause"])
def test_stores_answer_while_redis_does_not_and_it_serves_again_by_itself(world, hurt):
    world.work(0)
    getattr(world.server, hurt)()
    with capture_logs() as lines:
        for offset in range(1, 20):
            began = time.monotonic()
            world.work(offset)
            assert time.monotonic() - began < BOUND_S
        (world.server.resume if hurt == "pause" else world.server.start)()
        until(world.is_back, "Redis is used again")
    world.work(20)
    events = [line["event"] for line in lines]
    assert events[0] == "cache is passed over until it answers"
    assert events[-1] == "cache answers again"


def test_an_outage_delays_one_caller_of_many_and_not_for_long(world):
    world.work(0)
    world.server.pause()
    calls, waited = 0, 0.0
    began = time.monotonic()
    while time.monotonic() - began < 2 * REST_S:
        calls += 1
        call_began = time.monotonic()
        world.items.get(["i0"])
        waited += time.monotonic() - call_began > 0.1
    assert calls > 100
    assert waited <= 4


def test_a_flushed_redis_is_filled_again(world):
    world.work(0)
    routing = RedisRouting(world.connection, "default.home")
    routing.publish(Routing(epoch=7, rollout="r", stable="s", candidate=None, weight=0, renewed=0.0))
    world.connection.run(lambda client: client.flushall())
    assert routing.read() is None
    world.work(1)
    assert world.items.get(["i0"])["i0"].title == "0"
    world.stored.delete(["i0"])  # behind the cache's back: who reads it now reads Redis
    assert "i0" in world.items.get(["i0"])


def test_scripts_survive_a_restart_and_the_epoch_still_fences(make_redis, connect):
    server = make_redis()
    connection = connect(lambda: server.url)
    routing = RedisRouting(connection, "default.home")
    made = {"rollout": "r", "stable": "s", "candidate": None, "weight": 0, "renewed": 0.0}
    routing.publish(Routing(epoch=7, **made))
    server.stop()
    with pytest.raises(StorageUnavailable):
        routing.publish(Routing(epoch=8, **made))
    server.start()
    until(lambda: is_back(connection), "Redis is used again")
    routing.publish(Routing(epoch=9, **made))
    connection.run(lambda client: client.script_flush())
    with pytest.raises(StaleEpoch, match="9"):
        routing.publish(Routing(epoch=8, **made))
    assert routing.read().epoch == 9


def test_a_changed_password_is_read_at_the_next_connection(make_redis, connect, tmp_path):
    server = make_redis(password="first")
    file = tmp_path / "url"
    file.write_text(server.url.replace("://", "://:first@"))
    world = World(server, tmp_path, connect(file.read_text))
    world.work(0)
    server.set_password("second")
    world.work(1)  # over the connection that is there
    world.connection.run(lambda client: client.connection_pool.disconnect())
    world.work(2)  # the store answers
    assert not world.is_back()
    file.write_text(server.url.replace("://", "://:second@"))
    until(world.is_back, "the new password is used")
    world.work(3)


def test_connections_that_grow_in_number_have_the_password_of_now(make_redis, connect, tmp_path):
    server = make_redis(password="first")
    file = tmp_path / "url"
    file.write_text(server.url.replace("://", "://:first@"))
    connection = connect(file.read_text)
    connection.run(lambda client: client.ping())
    server.set_password("second")
    file.write_text(server.url.replace("://", "://:second@"))
    gate = threading.Barrier(4)

    def ping(client):
        with client.client() as single:  # holds a connection of its own
            gate.wait(DEADLINE_S)
            return single.ping()

    results = []
    threads = [threading.Thread(target=lambda: results.append(connection.run(ping))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert results == [True] * 4


def test_a_redis_with_tls_is_verified_by_the_authority_in_the_url(make_redis, connect):
    server = make_redis(secure=True, password="word")
    url = server.secure_url.replace("://", "://:word@")
    trusted = connect(lambda: f"{url}?ssl_ca_certs={server.ca_file}")
    assert trusted.run(lambda client: client.ping())
    for untrusted in (url, f"{url}?ssl_ca_certs=/no/such/file"):
        with pytest.raises(StorageUnavailable, match="does not answer"):
            connect(lambda untrusted=untrusted: untrusted).run(lambda client: client.ping())


def test_another_address_in_the_url_is_gone_to_when_the_first_does_not_answer(make_redis, connect):
    first, second = make_redis(), make_redis()
    urls = [first.url]
    connection = connect(lambda: urls[-1])
    connection.run(lambda client: client.set("here", "first"))
    urls.append(second.url)
    assert connection.run(lambda client: client.get("here")) == b"first"
    first.stop()
    until(lambda: is_back(connection), "the second one is used")
    assert connection.run(lambda client: client.get("here")) is None


def test_closing_gives_connections_back(make_redis, connect):
    server = make_redis()
    watching, closed = connect(lambda: server.url), connect(lambda: server.url)
    for connection in (watching, closed):
        connection.run(lambda client: client.ping())
    closed.close()
    until(lambda: len(watching.run(lambda client: client.client_list())) == 1, "one is left")


def test_a_full_redis_goes_on_answering_reads(world):
    world.work(0)
    world.connection.run(lambda client: client.config_set("maxmemory", 1))
    with capture_logs() as lines:
        for offset in range(1, 20):
            world.work(offset)
    assert [line["event"] for line in lines] == ["cache refuses commands"]
    assert world.is_back()
    assert world.connection.run(lambda client: client.get("sluice:item:shop:i0"))
