"""Profiles processes on a real Kafka that come, go, die and sleep in mid-batch: each record counts once."""

import contextlib
import os
import signal
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from harness import Child, Children, until
from oracle import Truth, check_counts, check_letters, check_users
from shop import KEY, WINDOW_MS, Shop

from sluice.backing import Backing
from sluice.embedded.home import Home
from sluice.events import EventLog
from sluice.evidence import Hits
from sluice.kafka.log import KafkaLog
from sluice.routing import Routing
from sluice.settings import Settings

PARTITIONS = 6
BACKLOG = 1_500
SESSION_S = 10.0
"""After which the group gives a member up that says nothing."""


class SharedShop(Shop):
    """A source on Kafka; processes share the stores, each has a ledger of its own."""

    users, items = 30, 9
    forgets_one_in = 23

    def __init__(self, folder: Path, children: Children, kafka: str, stores: dict[str, str]) -> None:
        self._kafka, self._folder, self.children = kafka, folder, children
        self._stores = stores
        settings = {"home": str(folder / "home"), "kafka": kafka, **stores}
        self.backing = Backing(Settings(**settings))
        self._stopping = threading.Event()
        super().__init__(folder, children, f"shop-{uuid.uuid4().hex[:8]}")
        self.running: list[Child] = []

    def open_log(self) -> EventLog:
        log = KafkaLog(self._kafka)
        log.create_topics(dict.fromkeys(self.topics, PARTITIONS), (self.topics.items, self.topics.users))
        return log

    def roll(self) -> None:
        self.since = int(time.time() * 1e3) - 1_000
        self.backing.routing(KEY).publish(
            Routing(
                epoch=1,
                rollout="r",
                stable="s1",
                candidate="s2",
                weight=5,
                renewed=time.time(),
                since=self.since / 1e3,
            )
        )

    def start(self) -> Child:
        ledger = self._folder / f"ledger-{len(self.running)}"
        environment = {
            "SLUICE_KAFKA": self._kafka,
            "SLUICE_HOME": str(self.home.folder),
            "SLUICE_LEDGER_FOLDER": str(ledger),
            "SLUICE_MODEL_FILE": str(self._model),
            **{f"SLUICE_{name.upper()}": value for name, value in self._stores.items()},
        }
        child = self.children.start("sluice_recommender", "profiles", environment=environment)
        self.running.append(child)
        return child

    @contextlib.contextmanager
    def streaming(self) -> Iterator[None]:
        """Append some of everything all the while."""
        thread = threading.Thread(target=self._stream)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            thread.join()

    def _stream(self) -> None:
        while not self._stopping.wait(0.01):
            self.stream(5)

    def positions(self) -> int:
        """Return how far the group has come, all partitions together."""
        return sum(self.log.committed(f"sluice-profiles.{self.source}").values())

    def grown(self, by: int = 200) -> None:
        """Wait until the group has come on by so much."""
        there = self.positions()
        until(lambda: self.positions() > there + by, "the group goes on", 60.0, 0.1)

    def ends_reached(self) -> Callable[[], bool]:
        """Return whether all that is there now is committed."""
        ends = {each: end for topic in self.topics[:4] for each, end in self.log.end_offsets(topic).items()}

        def reached() -> bool:
            committed = self.log.committed(f"sluice-profiles.{self.source}")
            return all(committed.get(each, 0) >= end for each, end in ends.items())

        return reached

    def freeze(self, child: Child) -> None:
        """Stop a process where it is, but not while it has SQLite's one lock: the others would sleep with it."""
        while True:
            os.kill(child.pid, signal.SIGSTOP)
            if "mongo_url" in self._stores or _is_free(self.home, self.source):
                return
            os.kill(child.pid, signal.SIGCONT)
            time.sleep(0.01)

    def wake(self, child: Child) -> None:
        os.kill(child.pid, signal.SIGCONT)

    def hits(self) -> dict[str, Hits]:
        """Return the hits as gates see them."""
        return self.backing.evidence(KEY).totals("r", 0).hits


def _is_free(home: Home, source: str) -> bool:
    database = sqlite3.connect(home.folder / f"source-{source}.db", timeout=0.2, isolation_level=None)
    with closing(database):
        try:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
    return True


def hits_of(truth: Truth, since: int) -> dict[str, Hits]:
    """Return what a single process would have counted."""
    totals: dict[str, Hits] = {}
    for (_, snapshot, _), (n, h) in truth.tallied(KEY, {"s1", "s2"}, since, WINDOW_MS).items():
        one = Hits(
            users=1,
            answers=n,
            hits=h,
            answers_squared=float(n * n),
            hits_squared=float(h * h),
            answers_hits=float(n * h),
        )
        totals[snapshot] = totals.get(snapshot, Hits()) + one
    return totals


@pytest.fixture(params=["embedded", "mongo"])
def shop(
    request: pytest.FixtureRequest, tmp_path: Path, children: Children, kafka: str
) -> Iterator[SharedShop]:
    stores: dict[str, str] = {}
    if request.param == "mongo":
        stores = {
            "mongo_url": request.getfixturevalue("mongo_url"),
            "mongo_database": f"rebalance-{uuid.uuid4().hex[:8]}",
            "redis_url": request.getfixturevalue("redis_url"),
        }
    made = SharedShop(tmp_path, children, kafka, stores)
    yield made
    children.kill_all()
    made.log.close()
    made.backing.close()


def test_members_that_come_go_die_and_sleep_count_each_record_once(shop: SharedShop) -> None:
    shop.stream(BACKLOG)
    first, second = shop.start(), shop.start()
    until(lambda: shop.positions() > 0, "the group begins", 60.0)
    with shop.streaming():
        third = shop.start()  # joins in mid-batch
        shop.grown()
        first.kill()
        fourth = shop.start()
        shop.grown()
        shop.freeze(second)
        until(shop.ends_reached(), "others have taken over from one that sleeps", 90.0, 0.2)
        shop.wake(second)  # and writes what it was about to write
        shop.grown()
        for _ in range(3):  # joins and leaves
            guest = shop.start()
            until(lambda child=guest: "partitions assigned" in child.says(), "it takes part", 60.0)
            shop.grown(50)
            assert guest.stop() == 0
        shop.grown()
        assert third.stop() == 0
    until(shop.ends_reached(), "everything is applied", 120.0, 0.2)

    truth = Truth(shop.log, shop.weights, shop.source)
    assert truth.repeated
    assert truth.forgets
    assert truth.letters
    expected = hits_of(truth, shop.since)
    assert sum(each.hits for each in expected.values()) > 20
    with contextlib.suppress(AssertionError):
        until(lambda: shop.hits() == expected, "every answer is judged", 60.0, 0.5)
    assert shop.hits() == expected
    assert second.running, "it goes on after its sleep"
    for child in (second, fourth):
        assert child.stop() == 0
    check_users(shop.backing.profiles(shop.source), truth)
    items = set(truth.popularity)
    check_counts(shop.backing.popularity(shop.source).of(items), truth)
    check_letters(shop.log, truth)
    assert set(shop.backing.items(shop.source).get([f"i{n}" for n in range(shop.items)])) == set(truth.items)
