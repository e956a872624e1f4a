"""What the caches in Redis promise: who reads what when, and what a store is asked."""

import threading
import time
import uuid

import pytest
from pymongo import MongoClient
from structlog.testing import capture_logs

from sluice.backing import Backing
from sluice.embedded.sources import EmbeddedItems, EmbeddedPopularity, EmbeddedProfiles, source_database
from sluice.errors import StorageUnavailable
from sluice.events import Partition
from sluice.items import Gain
from sluice.profile import Applied, Described
from sluice.records import Forget, Interaction, Item, User
from sluice.redis import popularity
from sluice.redis.caches import CachedItems, CachedPopularity, CachedProfiles
from sluice.redis.connection import RedisConnection
from sluice.redis.entries import MISSING_S, TTL_S
from sluice.settings import Settings

PART = Partition("shop.interactions", 0)


class Watched:
    """Passes calls on to a store, counts them, and can be gone or let something happen before it returns."""

    def __init__(self, store):
        self.store, self.calls, self.gone, self.before_it_returns = store, [], False, None

    def __getattr__(self, name):
        def ask(*arguments):
            self.calls.append(name)
            if self.gone:
                raise StorageUnavailable("the store is gone")
            found = getattr(self.store, name)(*arguments)
            if self.before_it_returns is not None:
                happen, self.before_it_returns = self.before_it_returns, None
                happen()
            return found

        return ask


class World:
    """One source in Redis and its stores; ``api`` and ``writer`` are caches of different processes over the same."""

    def __init__(self, url, folder):
        self.source = uuid.uuid4().hex
        self.connection = RedisConnection(lambda: url)
        database = source_database(folder / "source.db")
        self.profiles, self.items = Watched(EmbeddedProfiles(database)), Watched(EmbeddedItems(database))
        self.popularity = Watched(EmbeddedPopularity(database))

    def cached(self, kind, store=None):
        store = store or {
            CachedProfiles: self.profiles,
            CachedItems: self.items,
            CachedPopularity: self.popularity,
        }.get(kind)
        return kind(store, self.connection, self.source)

    def ttl(self, key):
        return self.connection.run(lambda client: client.ttl(f"sluice:{key.replace('*', self.source)}"))

    def expire(self, key):
        return self.connection.run(lambda client: client.delete(f"sluice:{key.replace('*', self.source)}"))


@pytest.fixture
def make_world(redis_url, tmp_path):
    """Return what makes worlds that share a Redis."""
    made = []

    def make():
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(World(redis_url, folder))
        return made[-1]

    yield make
    for world in made:
        world.connection.close()


@pytest.fixture
def world(make_world):
    return make_world()


def viewed(offset, item, user="u"):
    return {user: [Applied(offset, 0, Interaction(user_id=user, item_id=item))]}


def test_an_item_is_read_of_the_store_once_for_all_processes(world):
    world.items.put([Item(item_id="a", title="A")])
    for _ in range(3):
        assert world.cached(CachedItems).get(["a", "b"]) == {"a": Item(item_id="a", title="A")}
    assert world.items.calls == ["put", "get"]
    assert 0 < world.ttl("item:*:a") <= TTL_S
    assert 0 < world.ttl("item:*:b") <= MISSING_S


def test_only_what_is_not_cached_is_read_of_the_store(world):
    world.cached(CachedItems).put([Item(item_id="a")])
    asked = []
    store = Watched(world.items)
    store.get = lambda ids: asked.append(list(ids)) or world.items.get(ids)
    assert list(world.cached(CachedItems, store).get(["x", "a", "y"])) == ["a"]
    assert asked == [["x", "y"]]


def test_what_is_written_is_seen_at_once_without_another_read(world):
    api, writer = world.cached(CachedItems), world.cached(CachedItems)
    assert api.get(["a"]) == {}
    writer.put([Item(item_id="a", title="new")])
    assert api.get(["a"])["a"].title == "new"
    writer.delete(["a"])
    assert api.get(["a"]) == {}
    assert world.items.calls == ["get", "put", "delete"]


def test_a_reader_that_read_before_a_write_does_not_hide_it(world):
    api, writer = world.cached(CachedItems), world.cached(CachedItems)
    writer.put([Item(item_id="a", title="old")])
    world.expire("item:*:a")
    world.items.before_it_returns = lambda: CachedItems(
        world.items.store, world.connection, world.source
    ).put([Item(item_id="a", title="new")])
    assert api.get(["a"])["a"].title == "old"
    assert api.get(["a"])["a"].title == "new"


def test_a_reader_that_read_before_a_deletion_does_not_bring_it_back(world):
    api, writer = world.cached(CachedItems), world.cached(CachedItems)
    writer.put([Item(item_id="a")])
    world.expire("item:*:a")
    world.items.before_it_returns = lambda: CachedItems(
        world.items.store, world.connection, world.source
    ).delete(["a"])
    api.get(["a"])
    assert api.get(["a"]) == {}


def test_profiles_are_written_through_and_forgotten_through(world):
    api, writer = world.cached(CachedProfiles), world.cached(CachedProfiles)
    assert api.get("u") is None
    writer.apply(PART, viewed(0, "a"))
    writer.describe({"u": Described(0, User(user_id="u", features=("f",)))})
    profile = api.get("u")
    assert (profile.seen, profile.features) == (("a",), ("f",))
    assert profile == world.profiles.store.get("u")
    writer.apply(PART, {"u": [Applied(1, 0, Forget(user_id="u"))]})
    writer.describe({"u": Described(1, None)})
    assert api.get("u") is None
    assert world.profiles.calls == ["get", "apply", "describe", "apply", "describe"]


def test_a_reader_does_not_hide_a_users_newest_click(world):
    api = world.cached(CachedProfiles)
    world.profiles.before_it_returns = lambda: CachedProfiles(
        world.profiles.store, world.connection, world.source
    ).apply(PART, viewed(0, "a"))
    assert api.get("u") is None
    assert api.get("u").seen == ("a",)


def test_with_the_store_gone_readers_have_what_is_cached(world):
    api, items = world.cached(CachedProfiles), world.cached(CachedItems)
    api.apply(PART, viewed(0, "a"))
    items.put([Item(item_id="a")])
    world.profiles.gone = world.items.gone = True
    for _ in range(3):
        assert api.get("u").seen == ("a",)
        with pytest.raises(StorageUnavailable):
            api.get("v")
        assert list(items.get(["a"])) == ["a"]
        with pytest.raises(StorageUnavailable):
            items.get(["a", "b"])
    assert world.profiles.calls == ["apply", "get"]
    assert world.items.calls == ["put", "get"]


def test_one_reader_waits_a_moment_for_a_slow_store_and_what_it_says_late_is_cached(world):
    world.profiles.apply(PART, viewed(0, "a"))
    api, answers = world.cached(CachedProfiles), threading.Event()
    world.profiles.before_it_returns = lambda: answers.wait(30)
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(StorageUnavailable, match="did not answer in"):
            api.get("u")
    assert 0.3 <= time.monotonic() - began < 1.0
    answers.set()
    deadline = time.monotonic() + 10
    while True:
        try:
            assert api.get("u").seen == ("a",)
            break
        except StorageUnavailable:
            assert time.monotonic() < deadline
    assert world.profiles.calls == ["apply", "get"]


def test_a_write_that_the_store_refuses_is_not_cached(world):
    writer = world.cached(CachedProfiles)
    world.profiles.gone = True
    with pytest.raises(StorageUnavailable):
        writer.apply(PART, viewed(0, "a"))
    world.profiles.gone = False
    assert world.cached(CachedProfiles).get("u") is None


@pytest.mark.parametrize("junk", [b"\xc1", b"\x93", b"junk", b"\x80"])
def test_an_entry_that_cannot_be_read_is_as_good_as_none(world, junk):
    world.profiles.apply(PART, viewed(0, "a"))
    for kind in ("profile", "item"):
        world.connection.run(
            lambda client, kind=kind: client.set(f"sluice:{kind}:{world.source}:u", junk, ex=TTL_S)
        )
    assert world.cached(CachedProfiles).get("u").seen == ("a",)
    assert world.cached(CachedItems).get(["u"]) == {}


def test_sources_do_not_see_each_others_entries(world, make_world):
    other = make_world()
    world.cached(CachedItems).put([Item(item_id="a")])
    world.cached(CachedProfiles).apply(PART, viewed(0, "a"))
    assert other.cached(CachedItems).get(["a"]) == {}
    assert other.cached(CachedProfiles).get("u") is None


def test_installations_with_a_database_each_share_a_redis_and_nothing_else(tmp_path, mongo_url, redis_url):
    name = f"caches-{uuid.uuid4().hex[:8]}"
    one, other = [
        Backing(
            Settings(
                home=str(tmp_path), mongo_url=mongo_url, redis_url=redis_url, mongo_database=name + which
            )
        )
        for which in ("-one", "-other")
    ]
    try:
        one.profiles("shop").apply(PART, viewed(2**31, "a"))
        one.items("shop").put([Item(item_id="a")])
        one.popularity("shop").apply(PART, [Gain(2**31, "a", 1.0)])
        assert one.profiles("shop").get("u").seen == ("a",)
        assert one.popularity("shop").top(5) == [("a", 1.0)]
        assert other.profiles("shop").get("u") is None
        assert other.items("shop").get(["a"]) == {}
        assert other.popularity("shop").top(5) == []
    finally:
        with MongoClient(mongo_url) as client:
            for which in ("-one", "-other"):
                client.drop_database(name + which)
        one.close(), other.close()


def test_a_large_batch_is_cached_whole_and_is_no_outage(world):
    api, users = world.cached(CachedProfiles), [f"u{number}" for number in range(2_000)]
    features = tuple(f"feature-{number}" * 10 for number in range(32))
    with capture_logs() as lines:
        api.describe({user: Described(0, User(user_id=user, features=features)) for user in users})
    assert lines == []
    world.profiles.gone = True
    assert all(api.get(user).features == features for user in users)


def test_of_many_processes_one_asks_the_store_for_what_is_popular(world):
    world.popularity.apply(PART, [Gain(0, "a", 1.0)])
    workers = [world.cached(CachedPopularity) for _ in range(16)]
    assert workers[0].top(10) == [("a", 1.0)]
    for _ in range(5):
        assert [worker.top(10) for worker in workers] == [[("a", 1.0)]] * 16
    assert world.popularity.calls == ["apply", "top"]


def test_of_processes_at_once_one_asks_once_the_second_is_over(world):
    world.popularity.apply(PART, [Gain(0, "a", 1.0)])
    workers = [world.cached(CachedPopularity) for _ in range(8)]
    workers[0].top(10)
    world.expire("popular:*:10:fresh")  # as if a second had passed
    gate, results = threading.Barrier(8), []

    def work(worker):
        gate.wait(10)
        results.append(worker.top(10))

    threads = [threading.Thread(target=work, args=[worker]) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert results == [[("a", 1.0)]] * 8
    assert world.popularity.calls == ["apply", "top", "top"]
    assert (
        0
        < world.connection.run(lambda client: client.pttl(f"sluice:popular:{world.source}:10:fresh"))
        <= popularity.FRESH_MS
    )


def test_what_was_popular_outlives_the_store(world):
    world.popularity.apply(PART, [Gain(0, "a", 1.0), Gain(1, "b", 2.0)])
    first = world.cached(CachedPopularity)
    assert (first.top(10), first.of(["a"])) == ([("b", 2.0), ("a", 1.0)], {"a": 1.0})
    world.popularity.gone = True
    for key in (10, popularity.WHOLE):
        world.expire(f"popular:*:{key}:fresh")
    started_now = world.cached(CachedPopularity)
    assert (started_now.top(10), started_now.of(["a", "x"])) == ([("b", 2.0), ("a", 1.0)], {"a": 1.0})
    with pytest.raises(StorageUnavailable):
        started_now.top(11)


def test_counts_of_a_large_catalogue_are_the_stores(world, monkeypatch):
    monkeypatch.setattr(popularity, "WHOLE", 3)
    world.popularity.apply(PART, [Gain(number, f"i{number}", 9.0 - number) for number in range(5)])
    counts = world.cached(CachedPopularity)
    assert counts.of(["i0", "i4"]) == {"i0": 9.0, "i4": 5.0}
    assert counts.of(["i4"]) == {"i4": 5.0}
    assert world.popularity.calls == ["apply", "top", "of", "of"]
