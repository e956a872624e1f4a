"""The profiles process: events a second from the embedded log, how soon one event shows, how soon it is back.

Events with an ``event_id`` of 5,000 users on 3,000 items, both falling by rank; profiles, popularity, attribution
and positions are written as always. Beside it the same number of events decoded and no more, which is what any
reader pays. Then single events, a moment apart, are appended, and a reader asks for the profile until it shows.
Last, a new process reads 100,000 offsets of each of the two partitions again to know repeats.
"""

import argparse
import random
import tempfile
import threading
import time
from pathlib import Path

import report

from sluice import models
from sluice.embedded.home import Home
from sluice.embedded.sources import EmbeddedProfiles
from sluice.events import NewRecord
from sluice.records import decode_interaction
from sluice.topics import topics_of
from sluice_cli.demo.run import sample
from sluice_recommender.profiles.worker import build

TOPIC = topics_of("shop").interactions
SINGLES, PAUSE_S = 200, 0.01


def records(count: int) -> list[NewRecord]:
    """Return events as clients send them."""
    chance = random.Random(1)
    return [_record(chance, number) for number in range(count)]


def _record(chance: random.Random, number: int) -> NewRecord:
    user, item = int(chance.paretovariate(0.5)) % 5_000, int(chance.paretovariate(0.5)) % 3_000
    value = f'{{"user_id":"u{user}","item_id":"i{item}","event":"view","value":1.0,"event_id":"e{number}"}}'
    return NewRecord(b"u%d" % user, value.encode())


def applying(home: Home, events: list[NewRecord]) -> list[tuple[str, float]]:
    """Return (what, events a second) of applying everything, and of decoding alone."""
    log = home.log("shop")
    for start in range(0, len(events), 1_000):
        log.append(TOPIC, events[start : start + 1_000])
    process = build(home, [models.load(sample())])
    started = time.perf_counter()
    while process.step(0.0):
        pass
    applied = time.perf_counter() - started
    started = time.perf_counter()
    for event in events:
        decode_interaction(event.value or b"")
    decoded = time.perf_counter() - started
    return [("applied", len(events) / applied), ("decoded alone", len(events) / decoded)]


def freshness(home: Home) -> list[float]:
    """Return, sorted, the milliseconds from the append of one event to its profile."""
    process, stopping = build(home, [models.load(sample())]), threading.Event()
    thread = threading.Thread(target=process.run, args=[stopping])
    thread.start()
    log, profiles, took = home.log("shop"), EmbeddedProfiles(home.source("shop")), []
    try:
        for number in range(SINGLES):
            time.sleep(PAUSE_S)
            log.append(
                TOPIC, [NewRecord(b"new-%d" % number, b'{"user_id":"new-%d","item_id":"i1"}' % number)]
            )
            started = time.perf_counter()
            while profiles.get(f"new-{number}") is None:
                time.sleep(0.0005)
            took.append((time.perf_counter() - started) * 1e3)
    finally:
        stopping.set()
        thread.join()
    return sorted(took)


def starting(home: Home) -> float:
    """Return the seconds until a process that follows another knows the repeats."""
    started = time.perf_counter()
    build(home, [models.load(sample())])
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=210_000)
    parsed = parser.parse_args()
    report.header(report.command())
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        rates = applying(home, records(parsed.events))
        report.table(["profiles process", "events/s"], [(what, round(rate)) for what, rate in rates])
        took = freshness(home)
        report.table(
            ["append to profile", "ms"], [("p50", took[SINGLES // 2]), ("p99", took[int(SINGLES * 0.99)])]
        )
        report.table(["start again", "s"], [(f"after {parsed.events:,} events", starting(home))])


if __name__ == "__main__":
    main()
