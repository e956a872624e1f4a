"""From the embedded log to updated rows: events a second of the whole trainer, beside only reading the log.

GMF, d = 64, positive only, two partitions, 6,000 users and 4,000 items. The trainer catches up: plans of
8,192 records, journaled durably, decoded, de-duplicated; a sampled tenth of the events is evaluated for
stable, candidate and popularity; every event is learned. Beside it, in the same run and turn by turn, a bare
loop that reads and decodes the same records, and the share of the time that each step takes.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import report
import torch

from sluice.embedded.home import Home
from sluice.embedded.log import EmbeddedLog
from sluice.embedded.models import EmbeddedCatalog, EmbeddedEvidence, EmbeddedRouting
from sluice.events import NewRecord
from sluice.model import RecommenderModel
from sluice.records import Interaction, decode_interaction, encode
from sluice.routing import Routing
from sluice.topics import topics_of
from sluice_trainer import trainer as trainers
from sluice_trainer.histories import SeenItems
from sluice_trainer.journal import Journal
from sluice_trainer.learners.gmf import GMF
from sluice_trainer.loop import Loop
from sluice_trainer.planning import CATCH_UP
from sluice_trainer.trainer import Trainer

USERS, ITEMS, WARMUP, TURNS = 6000, 4000, 20_000, 3
TOPIC = topics_of("shop").interactions
MODEL = msgspec.convert(
    {
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "RecommenderModel",
        "metadata": {"name": "bench"},
        "spec": {
            "algorithm": {"type": "GMF", "parameters": {"dimension": 64, "epochs": 1}},
            "snapshots": {"interval": "1000h", "events": 1_000_000_000},
        },
    },
    RecommenderModel,
)
STEPS: dict[str, tuple[Any, str]] = {
    "read the log": (EmbeddedLog, "read"),
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

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STEPS, 0.0)

    def __enter__(self) -> "Watch":
        self._before = {step: getattr(*place) for step, place in STEPS.items()}
        for step, (owner, name) in STEPS.items():
            setattr(owner, name, self._timed(step, getattr(owner, name)))
        return self

    def __exit__(self, *_: object) -> None:
        for step, (owner, name) in STEPS.items():
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
    """One home with a growing log and a trainer that has been fitted."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)
        self.log, database = self.home.log("shop"), self.home.model(MODEL.key)
        catalog, routing = EmbeddedCatalog(database), EmbeddedRouting(database)
        self._draw, self._sent = np.random.default_rng(1), 0
        mass = np.arange(1, ITEMS + 1) ** -0.7
        self._mass = mass / mass.sum()
        self.send(WARMUP)
        self.loop = Loop(
            Trainer(MODEL, seed=1),
            folder=folder / "trainer",
            store=self.home.snapshots(MODEL.key),
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
            self.log.append(TOPIC, made)

    def read_only(self) -> float:
        """Read and decode what is waiting, learn nothing; return the seconds it took."""
        numbers = self.loop.trainer.position.offsets
        positions = {part: numbers[part.number] for part in self.log.partitions(TOPIC)}
        started = time.perf_counter()
        while found := self.log.read(positions, CATCH_UP, 0.0):
            for record in found:
                decode_interaction(record.value or b"")
                positions[record.partition] = record.offset + 1
        return time.perf_counter() - started

    def learn(self) -> float:
        """Learn what is waiting; return the seconds it took."""
        started = time.perf_counter()
        while self.loop.turn():
            pass
        return time.perf_counter() - started - IDLE_S


IDLE_S = 0.2  # the last turn waits so long for more


def main() -> None:
    """Print events a second of both, and where the time goes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--events", type=int, default=200_000, help="events a turn")
    count: int = parser.parse_args().events
    torch.set_num_threads(1)
    report.header(report.command())
    with tempfile.TemporaryDirectory() as folder:
        stream = Stream(Path(folder))
        turns: dict[str, Callable[[], float]] = {
            "read and decode only": stream.read_only,
            "log to updated rows": stream.learn,
        }
        best = dict.fromkeys(turns, float("inf"))
        for _ in range(TURNS):
            stream.send(count)
            for name, turn in turns.items():
                best[name] = min(best[name], turn())
        position, window = stream.loop.trainer.position, stream.loop.trainer.window
        least = best["read and decode only"]
        report.table(
            ("what", "events/s", "beside reading only"),
            [(name, f"{count / took:,.0f}", f"{least / took:.2f}x") for name, took in best.items()],
        )
        stream.send(count)
        with Watch() as watch:
            seconds = stream.learn()
        watch.seconds["read the log"] -= IDLE_S
        rest = {"the rest": seconds - sum(watch.seconds.values())}
        report.table(
            ("step", "µs an event", "share"),
            [
                (name, f"{1e6 * each / count:.2f}", f"{100 * each / seconds:.0f} %")
                for name, each in (watch.seconds | rest).items()
            ],
        )
        print(
            f"# {position.sequence} plans, {position.interactions} interactions, {window.evaluated} evaluated"
        )
        stream.loop.close()


if __name__ == "__main__":
    main()
