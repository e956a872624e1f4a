"""What a checkpoint costs a trainer of 1,000,000 users x 64 (and 50,000 items) that goes on learning.

A state of that size is made, written and taken up again; then events stream in while checkpoints are
written. The pause is the longest time between two plans (learning a plan included) while one is written,
beside the longest without one in the same run; a tenth of the users grows the tables on the way. Last, the
service itself is started on what is there, on the embedded log and on Kafka: seconds from the
start of its process until it has resumed, and until it has learned a plan that waited in the log.
"""

import argparse
import gc
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import report
import running
import torch
import urllib3
from bench_stream import model_of
from servers import broker, fresh

from sluice import logs
from sluice.backing import Backing
from sluice.embedded.home import Home
from sluice.embedded.models import EmbeddedCatalog, EmbeddedEvidence, EmbeddedRouting
from sluice.events import EventLog, NewRecord
from sluice.prepare import prepare
from sluice.records import Interaction, encode
from sluice.settings import Settings, as_environment
from sluice.snapshot.folder import FolderStore
from sluice.topics import topics_of
from sluice_trainer import checkpoint, forked
from sluice_trainer.journal import Journal
from sluice_trainer.learners.protocol import Interactions
from sluice_trainer.loop import Loop
from sluice_trainer.trainer import Trainer

EVENTS_A_USER, CHUNK, PLAN = 10, 100_000, 256
MODEL = model_of(fresh("bench"))
SOURCE = MODEL.spec.source.name
TOPIC = topics_of(SOURCE).interactions


def filled(users: int, items: int) -> Trainer:
    """Return a trainer that knows so many users and items, each user with ten interactions."""
    trainer = Trainer(MODEL, seed=1)
    trainer.users.add([f"user-{row}" for row in range(users)])
    trainer.items.add([f"item-{row}" for row in range(items)])
    draw = np.random.default_rng(1)
    none = np.empty(0, dtype=np.int32)
    blank = np.empty((0, 50), dtype=np.int32)
    nothing = Interactions(
        none, none, none.astype(np.float32), blank, blank.astype(np.float32), none.astype(np.uint64)
    )
    trainer.learner.fit(nothing, 0, 0)
    trainer.learner.learn(nothing, users, items)
    for _ in range(EVENTS_A_USER):
        for begin in range(0, users, CHUNK):
            who = np.arange(begin, min(begin + CHUNK, users), dtype=np.int32)
            what = draw.integers(0, items, len(who)).astype(np.int32)
            trainer.recent.push(who, what, np.ones(len(who), dtype=np.float32))
            trainer.seen.push(who, what)
    trainer.position = msgspec.structs.replace(trainer.position, sequence=1, fitted=True, cut_snapshot="none")
    return trainer


class Stream:
    """Sends events, by known users and by some new ones, and has the trainer learn them."""

    def __init__(self, log: EventLog, users: int, items: int) -> None:
        self.log, self.users, self.items = log, users, items
        self.draw, self.known = np.random.default_rng(2), users

    def send(self, newcomers: int) -> None:
        who = self.draw.integers(0, self.users, PLAN - newcomers).tolist()
        who += range(self.known, self.known + newcomers)
        self.known += newcomers
        what = self.draw.integers(0, self.items, PLAN).tolist()
        records = [
            NewRecord(
                f"user-{user}".encode(), encode(Interaction(user_id=f"user-{user}", item_id=f"item-{item}"))
            )
            for user, item in zip(who, what, strict=True)
        ]
        self.log.append(TOPIC, records)

    def plans(self, loop: Loop, newcomers: int = 2) -> Iterator[float]:
        """Yield how long each plan took, from the end of the one before, sending apart."""
        while True:
            self.send(newcomers)
            started = time.perf_counter()
            loop.turn()
            yield time.perf_counter() - started


def opened(home: Home, folder: Path, checkpoint_s: float) -> Loop:
    database = home.model(MODEL.key)
    return Loop(
        Trainer(MODEL, seed=1),
        folder=folder,
        store=FolderStore(home.snapshots(MODEL.key)),
        log=home.log(SOURCE),
        catalog=EmbeddedCatalog(database),
        evidence=EmbeddedEvidence(database),
        routing=EmbeddedRouting(database),
        warmup_events=1,
        checkpoint_s=checkpoint_s,
        fork=forked.AVAILABLE,
    )


def resuming(settings: Settings) -> tuple[float, float]:
    """Return the seconds from the start of a trainer's process to when it has resumed, and has learned what waits."""
    home = Path(settings.home)
    (home / "model.yaml").write_bytes(msgspec.json.encode(MODEL))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    own = {"SLUICE_MODEL_FILE": str(home / "model.yaml"), "SLUICE_STATUS_PORT": port, "SLUICE_SEED": "1"}
    told, url, http = home / "told.log", f"http://127.0.0.1:{port}/status", urllib3.PoolManager(retries=False)
    started = time.perf_counter()
    with told.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "sluice_trainer"],
            env=os.environ | as_environment(settings) | own,
            stderr=stream,
        )
    try:
        running.eventually(lambda: b'"resumed"' in told.read_bytes(), "the trainer resumes", poll_s=0.01)
        resumed = time.perf_counter() - started
        running.eventually(lambda: http.request("GET", url).json()["lag"] == 0, "it learns", poll_s=0.01)
        return resumed, time.perf_counter() - started
    finally:
        process.kill()
        process.wait()


def on_kafka(servers: str, place: Path, folder: Path, users: int, items: int) -> tuple[float, float]:
    """Return the same for a trainer on Kafka, ``folder`` holding its checkpoints; files are shared, not copied."""
    settings = Settings(home=str(place), kafka=servers)
    shutil.copytree(folder, place / folder.relative_to(folder.parents[2]), copy_function=os.link)
    prepare(settings, [MODEL], 2)
    log = Backing(settings).log(SOURCE)
    Stream(log, users, items).send(0)
    log.close()
    return resuming(settings)


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.1f} ms"


def main() -> None:
    """Print the costs of the journal and of checkpoints."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--plans", type=int, default=300, help="plans measured without a checkpoint")
    parser.add_argument("--without-kafka", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    report.header(report.command())
    logs.configure("bench", "warning", whole_process=False)
    with tempfile.TemporaryDirectory() as name:
        home = Home(Path(name) / "home")
        folder = home.trainer(MODEL.key) / Trainer(MODEL, seed=1).position.spec_hash
        home.log(SOURCE)
        folder.mkdir(parents=True)
        started = time.perf_counter()
        checkpoint.write(folder, filled(chosen.users, chosen.items).checkpoint())
        print(f"# made and written in {time.perf_counter() - started:.0f} s", flush=True)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

        resumed = {}
        if not chosen.without_kafka:
            with broker() as servers:
                resumed["Kafka"] = on_kafka(servers, Path(name) / "other", folder, chosen.users, chosen.items)
        started = time.perf_counter()
        loop = opened(home, folder, 1e9)
        gc.freeze()  # as the service does
        restart = time.perf_counter() - started
        stream = Stream(home.log(SOURCE), chosen.users, chosen.items)
        plans = stream.plans(loop)
        for _ in range(20):
            next(plans)
        steady = np.array([next(plans) for _ in range(chosen.plans)])

        append, journal = Journal.append, list[float]()

        def timed(self: Journal, plan: object) -> None:
            begun = time.perf_counter()
            append(self, plan)  # type: ignore[arg-type]
            journal.append(time.perf_counter() - begun)

        Journal.append = timed  # type: ignore[method-assign,assignment]
        next(plans)
        loop._saver.hurry()
        began = time.perf_counter()
        during, worked = [next(plans)], [0.0]
        while loop._saver._pending is not None:
            cpu = time.process_time()
            during.append(next(plans))
            worked.append(time.process_time() - cpu)
        sound = time.perf_counter() - began
        after = [next(plans) for _ in range(20)]

        grow = chosen.users // 10 // PLAN + 1
        crowd = stream.plans(loop, newcomers=PLAN)
        growing = [next(crowd) for _ in range(min(grow, 400))]
        loop.close()
        stream.send(0)
        del loop, plans, crowd
        gc.collect()
        resumed["embedded log"] = resuming(Settings(home=str(home.folder)))
        rows = [
            *(
                (f"restart of the service, {where}: resumed / first plan", f"{first:,.1f} s / {plan:,.1f} s")
                for where, (first, plan) in resumed.items()
            ),
            ("restart: checkpoint read and verified", f"{restart:,.1f} s"),
            ("bytes", f"{size / 1e6:,.0f} MB"),
            (
                "journal a plan, median / longest",
                f"{milliseconds(float(np.median(journal)))} / {milliseconds(max(journal))}",
            ),
            (
                "plan of 256, no checkpoint, median / longest",
                f"{milliseconds(float(np.median(steady)))} / {milliseconds(steady.max())}",
            ),
            (
                "plan while a checkpoint is written, median / longest",
                f"{milliseconds(float(np.median(during)))} / {milliseconds(max(during))}",
            ),
            ("of these, the plan at the fork", milliseconds(during[0])),
            (
                "of these, longest by the processor's time (with the appending of its events)",
                milliseconds(max(worked)),
            ),
            ("plan after it, longest", milliseconds(max(after))),
            (
                "plan of 256 new users, median / longest",
                f"{milliseconds(float(np.median(growing)))} / {milliseconds(max(growing))}",
            ),
            ("seconds until sound", f"{sound:,.1f} s, {len(during)} plans meanwhile"),
        ]
        report.table(("what", "cost"), rows)


if __name__ == "__main__":
    main()
