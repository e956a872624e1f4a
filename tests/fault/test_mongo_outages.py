"""MongoDB stopped, started again, frozen and slow: calls are refused in time, and then work again."""

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect

from sluice import mongo
from sluice.errors import StorageUnavailable
from sluice.events import Partition
from sluice.evidence import EvidenceRow, Paired
from sluice.items import Gain
from sluice.mongo.database import MongoDatabase
from sluice.mongo.models import MongoCatalog, MongoEvidence, prepare_model
from sluice.mongo.sources import MongoPopularity, MongoProfiles, prepare_source
from sluice.profile import Applied
from sluice.records import Interaction

PART = Partition("shop.interactions", 0)
READ_S, WRITE_S = 4.0, 20.0
"""How long a call may take on a busy machine; the adapter's own bounds are 2 and 10 s."""
SOON_S = 20.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, or_skip: Any) -> Iterator[Any]:
    from sluice_cli.backends import Mongo

    mongo = Mongo(tmp_path_factory.mktemp("mongo"))
    with or_skip():
        mongo.start()
    yield mongo
    mongo.resume()
    mongo.stop()


@pytest.fixture(scope="module")
def toxiproxy(tmp_path_factory: pytest.TempPathFactory, or_skip: Any) -> Iterator[Any]:
    from sluice_cli.backends import Toxiproxy

    proxies = Toxiproxy(tmp_path_factory.mktemp("toxiproxy"))
    with or_skip():
        proxies.start()
    yield proxies
    proxies.stop()


@pytest.fixture
def opened() -> Iterator[Callable[[str, str], MongoDatabase]]:
    """Return what opens a database of a URL."""
    made = []

    def open_at(url: str, name: str) -> MongoDatabase:
        made.append(MongoDatabase(lambda: url, f"outages-{name}"))
        return made[-1]

    yield open_at
    for database in made:
        database.close()


def viewed(offset: int) -> Applied:
    return Applied(offset, 1_000, Interaction(user_id="u", item_id=f"i{offset}"))


def refused_after(call: Any) -> float:
    began = time.monotonic()
    with pytest.raises(StorageUnavailable):
        call()
    return time.monotonic() - began


def soon(call: Any) -> Any:
    """Return what ``call`` returns once the server answers again."""
    deadline = time.monotonic() + SOON_S
    while True:
        try:
            return call()
        except StorageUnavailable:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_stopped_server_refuses_in_time_and_what_it_acknowledged_is_there_afterwards(server, opened):
    database = opened(server.url, "stopped")
    profiles, popularity = MongoProfiles(database, "shop"), MongoPopularity(database, "shop")
    profiles.apply(PART, {"u": [viewed(0)]})
    popularity.apply(PART, [Gain(0, "a", 1.0)])
    server.kill()
    assert refused_after(lambda: profiles.get("u")) < READ_S
    assert refused_after(lambda: profiles.get("u")) < 0.5  # nobody waits twice for a server known to be away
    assert refused_after(lambda: popularity.apply(PART, [Gain(1, "a", 1.0)])) < WRITE_S
    assert refused_after(lambda: profiles.apply(PART, {"u": [viewed(1)]})) < WRITE_S
    server.start()
    assert soon(lambda: profiles.get("u")).seen == ("i0",)
    popularity.apply(PART, [Gain(0, "a", 1.0), Gain(1, "a", 1.0)])
    profiles.apply(PART, {"u": [viewed(0), viewed(1)]})
    assert popularity.top(5) == [("a", 2.0)]
    assert profiles.get("u").seen == ("i0", "i1")


def test_a_write_over_a_connection_that_a_restart_broke_succeeds(server, opened):
    database = opened(server.url, "restarted")
    catalog = MongoCatalog(database, "default.m")
    first = catalog.claim()
    server.stop()
    server.start()
    assert soon(catalog.claim) > first


def test_a_frozen_server_refuses_in_time(server, opened):
    database = opened(server.url, "frozen")
    profiles = MongoProfiles(database, "shop")
    profiles.apply(PART, {"u": [viewed(0)]})
    server.pause()
    try:
        assert refused_after(lambda: profiles.get("u")) < READ_S
        assert refused_after(lambda: profiles.apply(PART, {"u": [viewed(1)]})) < WRITE_S
    finally:
        server.resume()
    soon(lambda: profiles.apply(PART, {"u": [viewed(1)]}))
    assert profiles.get("u").seen == ("i0", "i1")


def test_a_slow_network_is_borne_until_it_is_too_slow(server, opened, toxiproxy):
    proxy = toxiproxy.proxy("mongo", server.address)
    database = opened(f"mongodb://{proxy.address}", "slow")
    profiles = MongoProfiles(database, "shop")
    profiles.apply(PART, {"u": [viewed(0)]})
    proxy.latency(200)
    assert profiles.get("u").seen == ("i0",)
    profiles.apply(PART, {"u": [viewed(1)]})
    proxy.latency(30_000)
    assert refused_after(lambda: profiles.get("u")) < READ_S
    proxy.reset()
    assert soon(lambda: profiles.get("u")).seen == ("i0", "i1")


def test_a_batch_may_take_longer_than_a_call(server, opened, toxiproxy, monkeypatch):
    proxy = toxiproxy.proxy("mongo-far", server.address)
    profiles = MongoProfiles(opened(f"mongodb://{proxy.address}", "far"), "shop")
    users = [f"u{number}" for number in range(4_000)]
    profiles.apply(PART, {user: [viewed(0)] for user in users})
    proxy.latency(250)
    monkeypatch.setattr(mongo.database, "RUN_S", 1.5)
    profiles.apply(PART, {user: [viewed(1)] for user in users})
    proxy.reset()
    assert profiles.get(users[-1]).seen == ("i0", "i1")


def test_writes_whose_answer_got_lost_count_nothing_twice(server, opened, monkeypatch):
    database, chance = opened(server.url, "lost"), random.Random(6)
    profiles, popularity = MongoProfiles(database, "shop"), MongoPopularity(database, "shop")
    catalog, evidence = MongoCatalog(database, "default.m"), MongoEvidence(database, "default.m")
    really, lost = Collection.bulk_write, []

    def write(collection: Any, *arguments: Any, **options: Any) -> Any:
        done = really(collection, *arguments, **options)
        if chance.random() < 0.5:
            lost.append(collection.name)
            raise AutoReconnect("connection closed")
        return done

    monkeypatch.setattr(Collection, "bulk_write", write)
    epochs = []
    for offset in range(20):
        soon(lambda n=offset: popularity.apply(PART, [Gain(n, item, 1.0) for item in "ab"]))
        soon(lambda n=offset: profiles.apply(PART, {"u": [viewed(n)]}))
        soon(lambda n=offset: evidence.append([scored(n)]))
        epochs.append(soon(catalog.claim))
    assert len(set(lost)) == 4
    assert popularity.top(5) == [("a", 20.0), ("b", 20.0)]
    assert profiles.get("u").seen == tuple(f"i{n}" for n in range(20))
    assert evidence.totals("r", 0).paired["mrr"].n == 20
    assert epochs == sorted(set(epochs))


def scored(offset: int) -> EvidenceRow:
    return EvidenceRow(
        rollout="r",
        snapshot="s",
        writer="paired/m",
        sequence=f"0:{offset}-{offset + 1}",
        at=1.0,
        paired={"mrr": Paired(n=1)},
    )


WRITER = """
import sys
from sluice.events import Partition
from sluice.items import Gain
from sluice.mongo.database import MongoDatabase
from sluice.mongo.models import MongoCatalog
from sluice.mongo.sources import MongoPopularity, MongoProfiles
from sluice.profile import Applied
from sluice.records import Interaction

url, name, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
database = MongoDatabase(lambda: url, name)
profiles, popularity = MongoProfiles(database, "shop"), MongoPopularity(database, "shop")
part, catalog = Partition("shop.interactions", number), MongoCatalog(database, "default.m")
print("ready", flush=True)
sys.stdin.readline()
for offset in range(30):
    again = range(max(0, offset - 2), offset + 1)
    events = [Applied(n, 1_000, Interaction(user_id="u", item_id=f"{number}-{n}")) for n in again]
    profiles.apply(part, {"u": events})
    popularity.apply(part, [Gain(n, item, 1.0) for n in again for item in "ab"])
print(*[catalog.claim() for _ in range(20)], flush=True)
database.close()
"""


def test_two_processes_at_once_lose_nothing_and_count_nothing_twice(server, opened, tmp_path: Path):
    (tmp_path / "writer.py").write_text(WRITER)
    writers = [
        subprocess.Popen(
            [sys.executable, str(tmp_path / "writer.py"), server.url, "outages-two", str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    claims = [int(claim) for writer in writers for claim in writer.communicate(timeout=60)[0].split()]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert sorted(claims) == list(range(1, 41))
    database = opened(server.url, "two")
    assert MongoPopularity(database, "shop").top(5) == [("a", 60.0), ("b", 60.0)]
    profile = MongoProfiles(database, "shop").get("u")
    assert profile.offsets == {0: 29, 1: 29}
    for number in "01":
        mine = [item for item in profile.seen if item.startswith(number)]
        assert mine == [f"{number}-{n}" for n in range(30)]


def test_preparing_twice_makes_each_index_once(server, opened):
    database = opened(server.url, "prepared")
    for _ in range(2):
        prepare_source(database, "shop")
        prepare_model(database, "default.m")
    keys = database.run("shop.popularity", lambda collection: collection.index_information())
    assert [("count", -1), ("_id", 1)] in [index["key"] for index in keys.values()]
    assert "rollout_1" in database.run(
        "default.m.evidence", lambda collection: collection.index_information()
    )
