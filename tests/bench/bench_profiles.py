"""The profiles process: events a second from the log to all applied, embedded and on Kafka, MongoDB and Redis.

Events with an ``event_id`` of 6,000 users alike and of 4,000 items by Zipf's law lie in the log; profiles,
popularity, attribution and positions are written as always. The first third makes the profiles and is not counted.
Beside it the same events decoded and no more, which is what any reader pays.

On the real servers the last third is applied with MongoDB's commands counted (not timed: counting them costs):
how many documents are written, how many bytes are sent to MongoDB and to Redis, beside the bytes of the events.
Then single events, a moment apart, are appended, and a reader asks for the profile until it shows. Last, a new
process reads up to 100,000 offsets of each partition again to know repeats, and takes its partitions over.
"""

import argparse
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bson
import msgspec
import numpy as np
import redis
import report
import running
from pymongo import monitoring
from servers import fresh, servers

from sluice import logs
from sluice.backing import Backing
from sluice.events import NewRecord
from sluice.model import RecommenderModel
from sluice.prepare import prepare
from sluice.records import Interaction, decode_interaction, encode
from sluice.settings import Settings
from sluice.topics import topics_of
from sluice_recommender.profiles.process import ProfilesProcess
from sluice_recommender.profiles.worker import build

USERS, ITEMS = 6_000, 4_000
SINGLES, PAUSE_S, CHUNK = 200, 0.01, 10_000


class Commands(monitoring.CommandListener):
    """Counts what is sent to MongoDB while it is ``on``: documents written, documents asked for, bytes."""

    def __init__(self) -> None:
        self.on, self.counts = False, Counter[str]()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if not self.on:
            return
        command = event.command
        writes = len(command.get("updates", ())) + len(command.get("documents", ()))
        self.counts["commands"] += 1
        self.counts["bytes"] += len(bson.encode(command))
        if writes:
            self.counts[f"{_kind(command)} written"] += writes
            self.counts["written"] += writes
            self.counts["bytes written"] += len(bson.encode(command))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing is counted twice."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing is counted twice."""


def _kind(command: Mapping[str, Any]) -> str:
    """Return what the collection of a command holds."""
    return str(next(iter(command.values()))).rpartition(".")[2]


class Source:
    """A source of its own with ``count`` events; opens processes and sends more."""

    def __init__(self, settings: Settings, count: int) -> None:
        name = fresh("bench")
        document = {
            "apiVersion": "sluice.dev/v1alpha1",
            "kind": "RecommenderModel",
            "metadata": {"name": name},
            "spec": {"algorithm": {"type": "Popular"}, "source": {"name": name}},
        }
        self.model = msgspec.convert(document, RecommenderModel)
        self._settings, self.name = settings, name
        self.topic = topics_of(name).interactions
        prepare(settings, [self.model])
        self.log = Backing(settings).log(name)
        self._events = records(count)
        self._sent = 0

    def open(self) -> ProfilesProcess:
        """Return a process that has made its first step, so that it owns its partitions."""
        backing = Backing(self._settings)
        process = build(backing, [self.model], Path(self._settings.home))
        process.step(0.0)
        return process

    def send(self, count: int) -> list[NewRecord]:
        """Append the next events and return them."""
        events = self._events[self._sent : self._sent + count]
        self._sent += count
        for start in range(0, len(events), CHUNK):
            self.log.append(self.topic, events[start : start + CHUNK])
        return events


def records(count: int) -> list[NewRecord]:
    """Return events as clients send them."""
    draw = np.random.default_rng(1)
    users = draw.integers(0, USERS, count).tolist()
    mass = 1.0 / np.arange(1, ITEMS + 1)
    items = draw.choice(ITEMS, count, p=mass / mass.sum()).tolist()
    return [
        NewRecord(b"user-%d" % user, encode(_event(number, user, item)))
        for number, (user, item) in enumerate(zip(users, items, strict=True))
    ]


def _event(number: int, user: int, item: int) -> Interaction:
    return Interaction(
        user_id=f"user-{user}", item_id=f"item-{item}", ts=1_700_000_000_000 + number, event_id=f"e-{number}"
    )


def apply(process: ProfilesProcess, count: int) -> tuple[float, float]:
    """Apply ``count`` waiting events; return the seconds it took, and those of this process's own work."""
    left, started, worked = count, time.perf_counter(), time.process_time()
    deadline = time.monotonic() + 150.0
    while left > 0:
        left -= process.step()
        if time.monotonic() > deadline:
            raise SystemExit(f"{left:,} of {count:,} events were not applied in time")
    return time.perf_counter() - started, time.process_time() - worked


def freshness(process: ProfilesProcess, source: Source, settings: Settings) -> list[float]:
    """Return, sorted, the milliseconds from the append of one event to its profile."""
    stopping = threading.Event()
    thread = threading.Thread(target=process.run, args=[stopping])
    thread.start()
    profiles, took = Backing(settings).profiles(source.name), list[float]()
    try:
        for number in range(SINGLES):
            time.sleep(PAUSE_S)
            user = f"new-{number}"
            event = Interaction(user_id=user, item_id="item-1", event_id=user)
            started = time.perf_counter()
            source.log.append(source.topic, [NewRecord(user.encode(), encode(event))])
            running.eventually(lambda user=user: profiles.get(user) is not None, user, 10.0, 0.0005)
            took.append((time.perf_counter() - started) * 1e3)
    finally:
        stopping.set()
        thread.join()
    return sorted(took)


def measure(settings: Settings, count: int, watched: Commands | None) -> list[tuple[str, str]]:
    """Return the rows of one kind of servers."""
    source = Source(settings, 3 * count)
    process = source.open()
    source.send(count)
    apply(process, count)
    events = source.send(count)
    seconds, worked = apply(process, count)
    started = time.perf_counter()
    for event in events:
        decode_interaction(event.value or b"")
    decoded = count / (time.perf_counter() - started)
    rows = [
        ("events/s applied", f"{count / seconds:,.0f}"),
        ("events/s decoded alone", f"{decoded:,.0f}"),
        ("µs of this process's processor an event", f"{1e6 * worked / count:.0f}"),
    ]
    if watched is not None:
        rows += amplification(process, source, count, settings, watched)
    took = freshness(process, source, settings)
    rows += [
        ("append to profile, p50 ms", f"{took[SINGLES // 2]:.1f}"),
        ("append to profile, p99 ms", f"{took[int(SINGLES * 0.99)]:.1f}"),
    ]
    started = time.perf_counter()
    source.open().close()
    rows.append(("start again, s", f"{time.perf_counter() - started:.2f}"))
    source.log.close()
    return rows


def amplification(
    process: ProfilesProcess, source: Source, count: int, settings: Settings, watched: Commands
) -> list[tuple[str, str]]:
    """Return what applying ``count`` events sends to MongoDB and Redis, an event."""
    events = source.send(count)
    payload = sum(len(each.key) + len(each.value or b"") for each in events) / count
    with redis.Redis.from_url(settings.redis_url) as client:
        before = int(client.info("stats")["total_net_input_bytes"])
        watched.on = True
        apply(process, count)
        watched.on = False
        cached = (int(client.info("stats")["total_net_input_bytes"]) - before) / count
    counts = {name: value / count for name, value in watched.counts.items()}
    return [
        ("MongoDB documents written an event", f"{counts['written']:.2f}"),
        ("  of these profiles", f"{counts['profiles written']:.2f}"),
        ("  of these popularity", f"{counts['popularity written']:.2f}"),
        ("MongoDB commands per 1,000 events", f"{1_000 * counts['commands']:.0f}"),
        ("bytes of an event", f"{payload:,.0f}"),
        ("bytes to MongoDB an event", f"{counts['bytes']:,.0f}"),
        ("  of these in writes", f"{counts['bytes written']:,.0f}"),
        ("bytes to Redis an event", f"{cached:,.0f}"),
    ]


def table(name: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print the rows of one kind of servers."""
    report.table((f"profiles process, {name}", ""), rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=70_000, help="events of each third, embedded")
    parser.add_argument("--real-events", type=int, default=30_000, help="the same on the real servers")
    parser.add_argument("--only", choices=("embedded", "real"))
    chosen = parser.parse_args()
    report.header(report.command())
    logs.configure("bench", "warning", whole_process=False)
    if chosen.only != "real":
        with tempfile.TemporaryDirectory() as folder:
            table("embedded", measure(Settings(home=folder), chosen.events, None))
    if chosen.only != "embedded":
        watched = Commands()
        monitoring.register(watched)
        with servers() as there, tempfile.TemporaryDirectory() as folder:
            settings = msgspec.structs.replace(there, home=folder)
            table("Kafka + MongoDB + Redis", measure(settings, chosen.real_events, watched))


if __name__ == "__main__":
    main()
