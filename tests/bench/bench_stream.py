"""From the log to updated rows: events a second of the whole trainer, beside only reading the log.

GMF, d = 64, positive only, two partitions, 6,000 users and 4,000 items. The trainer catches up: plans of up to
32,768 records, journaled durably, decoded, de-duplicated; a sample of the events is evaluated for stable,
candidate and popularity; every event is learned. Beside it, in the same run and turn by turn:

- on the embedded log, a loop that reads the same records and decodes them one by one,
- with ``--kafka`` (a broker's ``host:port``, or none to start one), a bare confluent-kafka consumer that takes
  10,000 messages at a time and counts them, with librdkafka's own settings and with those of Sluice's adapter.

The clock runs from the first batch to the last event; the processor's time is that of all threads of this process,
and on a busy machine the surer figure. Then the share of the time that each step takes.
"""

import argparse
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import report
import torch
from threadpoolctl import threadpool_limits

from sluice.embedded.home import Home
from sluice.embedded.log import EmbeddedLog
from sluice.embedded.models import EmbeddedCatalog, EmbeddedEvidence, EmbeddedRouting
from sluice.events import EventLog, NewRecord, Partition
from sluice.model import RecommenderModel
from sluice.records import Interaction, decode_interaction, encode
from sluice.routing import Routing
from sluice.snapshot.folder import FolderStore
from sluice.topics import topics_of
from sluice_trainer import trainer as trainers
from sluice_trainer.histories import SeenItems
from sluice_trainer.journal import Journal
from sluice_trainer.learners.gmf import GMF
from sluice_trainer.loop import Loop
from sluice_trainer.planning import CATCH_UP
from sluice_trainer.trainer import Trainer

USERS, ITEMS, WARMUP, TURNS = 6000, 4000, 20_000, 3


def model_of(source: str) -> RecommenderModel:
    """Return the model of the bench, which reads ``source``."""
    return msgspec.convert(
        {
            "apiVersion": "sluice.dev/v1alpha1",
            "kind": "RecommenderModel",
            "metadata": {"name": "bench"},
            "spec": {
                "algorithm": {"type": "GMF", "parameters": {"dimension": 64, "epochs": 1}},
                "source": {"name": source},
                "snapshots": {"interval": "1000h", "events": 1_000_000_000},
            },
        },
        RecommenderModel,
    )


MODEL = model_of("shop")
TOPIC = topics_of("shop").interactions
STEPS: dict[str, tuple[Any, str]] = {
    "journal": (Journal, "append"),
    "decode and de-duplicate": (trainers, "decode"),
    "rows and histories": (Trainer, "_take"),
    "seen items": (SeenItems, "push"),
    "seen items of the sample": (SeenItems, "of"),
    "evaluate": (Trainer, "_evaluate"),
    "learn": (GMF, "learn"),
    "write evidence": (EmbeddedEvidence, "append"),
}


class Watch:
    """Adds up the time spent in each step."""

    def __init__(self, steps: Mapping[str, tuple[Any, str]]) -> None:
        self._steps = steps
        self.begin()

    def begin(self) -> None:
        """Count from 0."""
        self.seconds = dict.fromkeys(self._steps, 0.0)

    def __enter__(self) -> "Watch":
        self._before = {step: getattr(*place) for step, place in self._steps.items()}
        for step, (owner, name) in self._steps.items():
            setattr(owner, name, self._timed(step, getattr(owner, name)))
        return self

    def __exit__(self, *_: object) -> None:
        for step, (owner, name) in self._steps.items():
            setattr(owner, name, self._before[step])

    def _timed(self, step: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            started = time.perf_counter()
            try:
                return work(*arguments)
            finally:
                self.seconds[step] += time.perf_counter() - started

        return timed


class Stream:
    """A growing log and a trainer that has been fitted; ``opened`` gives a log that has fetched nothing yet."""

    def __init__(self, folder: Path, opened: Callable[[], EventLog], source: str = "shop") -> None:
        home, self._opened, model = Home(folder), opened, model_of(source)
        self.topic = topics_of(source).interactions
        self.log, database = opened(), home.model(model.key)
        self.log.create_topics(dict.fromkeys(topics_of(source), 2))
        catalog, routing = EmbeddedCatalog(database), EmbeddedRouting(database)
        self._draw, self._sent = np.random.default_rng(1), 0
        mass = np.arange(1, ITEMS + 1) ** -0.7
        self._mass = mass / mass.sum()
        self.send(WARMUP)
        self.loop = Loop(
            Trainer(model, seed=1),
            folder=folder / "trainer",
            store=FolderStore(home.snapshots(model.key)),
            log=self.log,
            catalog=catalog,
            evidence=EmbeddedEvidence(database),
            routing=routing,
            warmup_events=WARMUP,
            checkpoint_s=1e9,
        )
        self.loop.turn()
        first = catalog.entries()[0].id
        routing.publish(
            Routing(epoch=1, rollout="r", stable=first, candidate=first, weight=0, renewed=time.time())
        )

    def send(self, count: int) -> None:
        """Append events of users alike and of items by popularity."""
        users = self._draw.integers(0, USERS, count).tolist()
        items = self._draw.choice(ITEMS, count, p=self._mass).tolist()
        for begin in range(0, count, 20_000):
            made = []
            for user, item in zip(users[begin : begin + 20_000], items[begin : begin + 20_000], strict=True):
                self._sent += 1
                event = Interaction(
                    user_id=f"user-{user}", item_id=f"item-{item}", ts=self._sent, event_id=f"e{self._sent}"
                )
                made.append(NewRecord(event.user_id.encode(), encode(event)))
            self.log.append(self.topic, made)

    @property
    def waiting(self) -> dict[Partition, int]:
        """Where the trainer goes on."""
        numbers = self.loop.trainer.position.offsets
        return {part: numbers[part.number] for part in self.log.partitions(self.topic)}

    def read_only(self) -> float:
        """Read and decode what is waiting, learn nothing; return the seconds it took."""
        positions = self.waiting
        started = time.perf_counter()
        while found := self.log.read(positions, CATCH_UP, 0.0):
            for record in found:
                decode_interaction(record.value or b"")
                positions[record.partition] = record.offset + 1
        return time.perf_counter() - started

    def learn(self, began: Callable[[], None] = lambda: None) -> float:
        """Learn what is waiting; return the seconds it took from when ``began`` was called on."""
        fresh = self._opened()
        self.loop._planner._log = fresh
        while not self.loop.turn():
            pass
        began()
        started = time.perf_counter()
        while self.loop.trainer.position.interactions < self._sent:
            self.loop.turn()
        seconds = time.perf_counter() - started
        self.loop._planner._log = self.log
        fresh.close()
        return seconds


def consume(
    servers: str, settings: Mapping[str, Any], positions: Mapping[Partition, int], count: int
) -> float:
    """Count ``count`` messages with a bare consumer; return the seconds it took from its first batch on."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {**settings, "bootstrap.servers": servers, "group.id": "bare", "enable.auto.commit": False}
    )
    consumer.assign([TopicPartition(*partition, position) for partition, position in positions.items()])
    while not (found := len(consumer.consume(10_000, 0.1))):
        pass
    started = time.perf_counter()
    while found < count:
        found += len(consumer.consume(10_000, 0.1))
    seconds = time.perf_counter() - started
    consumer.close()
    return seconds


@contextmanager
def kafka(servers: str, folder: Path) -> Iterator[str]:
    """Give the broker at ``servers``, or one started for this run."""
    if servers:
        yield servers
        return
    from sluice_cli.backends import Kafka

    broker = Kafka(folder / "kafka")
    broker.start()
    try:
        yield broker.bootstrap
    finally:
        broker.stop()


def on_kafka(servers: str, folder: Path, count: int) -> None:
    """Measure on Kafka."""
    from sluice.kafka.log import KafkaLog
    from sluice.kafka.reader import SETTINGS

    stream = Stream(folder, lambda: KafkaLog(servers), f"bench-{secrets.token_hex(4)}")
    adapters = {name: each for name, each in SETTINGS.items() if name != "enable.partition.eof"}
    measure(
        stream,
        count,
        {
            "bare consumer": lambda: consume(servers, {}, stream.waiting, count),
            "bare consumer, set as Sluice's": lambda: consume(servers, adapters, stream.waiting, count),
            "log to updated rows": stream.learn,
        },
        {"read the log": (KafkaLog, "read")} | STEPS,
    )


def on_embedded(folder: Path, count: int) -> None:
    """Measure on the embedded log."""
    stream = Stream(folder, lambda: Home(folder).log("shop"))
    measure(
        stream,
        count,
        {"read and decode only": stream.read_only, "log to updated rows": stream.learn},
        {"read the log": (EmbeddedLog, "read")} | STEPS,
    )


def measure(
    stream: Stream, count: int, turns: Mapping[str, Callable[[], float]], steps: Mapping[str, tuple[Any, str]]
) -> None:
    """Print events a second of each of ``turns``, the best of several, and where the trainer's time goes."""
    best = dict.fromkeys(turns, float("inf"))
    worked = dict.fromkeys(turns, float("inf"))
    for _ in range(TURNS):
        stream.send(count)
        for name, turn in turns.items():
            cpu = time.process_time()
            best[name] = min(best[name], turn())
            worked[name] = min(worked[name], time.process_time() - cpu)
    learned = best["log to updated rows"]
    report.table(
        ("what", "events/s", "log to updated rows beside it", "µs of processor an event"),
        [
            (name, f"{count / took:,.0f}", f"{took / learned:.2f}x", f"{1e6 * worked[name] / count:.2f}")
            for name, took in best.items()
        ],
    )
    stream.send(count)
    with Watch(steps) as watch:
        seconds = stream.learn(watch.begin)
    rest = {"the rest": seconds - sum(watch.seconds.values())}
    report.table(
        ("step", "µs an event", "share"),
        [
            (name, f"{1e6 * each / count:.2f}", f"{100 * each / seconds:.0f} %")
            for name, each in (watch.seconds | rest).items()
        ],
    )
    position, window = stream.loop.trainer.position, stream.loop.trainer.window
    print(f"# {position.sequence} plans, {position.interactions} interactions, {window.evaluated} evaluated")
    stream.loop.close()


def main() -> None:
    """Print events a second of both, and where the time goes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--events", type=int, default=200_000, help="events a turn")
    parser.add_argument(
        "--kafka", nargs="?", const="", help="on Kafka: host:port, or nothing to start a broker"
    )
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    report.header(report.command())
    with threadpool_limits(1), tempfile.TemporaryDirectory() as name:  # as the service does
        folder = Path(name)
        if chosen.kafka is None:
            on_embedded(folder, chosen.events)
            return
        with kafka(chosen.kafka, folder) as servers:
            on_kafka(servers, folder, chosen.events)


if __name__ == "__main__":
    main()
