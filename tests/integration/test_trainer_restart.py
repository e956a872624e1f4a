"""The trainer as a real process, killed at random instants: it ends bit-equal to an undisturbed run.

The plans are kept by hard links to its journals (a trainer deletes those that its checkpoints make obsolete).
The undisturbed run carries the same plans out in this process, from the same log into a store of its own.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from threadpoolctl import threadpool_limits

from sluice import models
from sluice.embedded.home import Home
from sluice.embedded.models import EmbeddedCatalog, EmbeddedEvidence, EmbeddedRouting, model_database
from sluice.events import NewRecord, Partition
from sluice.evidence import EvidenceTotals
from sluice.records import Forget, Interaction, encode
from sluice.routing import Routing
from sluice.snapshot.folder import FolderStore
from sluice.snapshot.verify import verify
from sluice.topics import topics_of
from sluice_trainer import checkpoint
from sluice_trainer.contenders import Contenders
from sluice_trainer.cutting import Cutter
from sluice_trainer.fencing import newest_folder
from sluice_trainer.journal import Plan, plans_in
from sluice_trainer.trainer import Trainer

DEADLINE_S = 60.0
SEED, WARMUP, CHUNK = 5, 400, 60
MODEL = {
    "apiVersion": "sluice.dev/v1alpha1",
    "kind": "RecommenderModel",
    "metadata": {"name": "tiny"},
    "spec": {
        "algorithm": {
            "type": "GMF",
            "parameters": {"dimension": 4, "epochs": 2, "batch": 64, "learnNegatives": 2},
        },
        "source": {"name": "shop", "eventWeights": {"cart": "3"}},
        "snapshots": {"events": 40, "interval": "10m"},
    },
}
TOPIC = topics_of("shop").interactions


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {DEADLINE_S} s"
        time.sleep(0.005)


class World:
    """The home of one trainer: its stream, its process, and the plans it journaled."""

    def __init__(self, folder: Path) -> None:
        self.model_file = folder / "model.yaml"
        self.model_file.write_text(yaml.safe_dump(MODEL))
        self.model = models.load(self.model_file)
        self.home = Home(folder / "home")
        self.log, database = self.home.log("shop"), self.home.model(self.model.key)
        self.catalog, self.evidence = EmbeddedCatalog(database), EmbeddedEvidence(database)
        self.routing = EmbeddedRouting(database)
        self.folder = self.home.trainer(self.model.key) / Trainer(self.model, SEED).position.spec_hash
        self.links = folder / "journals"
        self.links.mkdir()
        self.stderr = folder / "trainer.log"
        self.chance = random.Random(1)
        self.sent = {"accepted": 0, "duplicates": 0, "rejected": 0}
        self.sender = ""  # of event 0
        self.process: subprocess.Popen[bytes] | None = None

    # --- the stream

    def send(self, n: int) -> None:
        """Append ``n`` records: mostly interactions, some sent twice, some forgets, some that are nothing."""
        records = []
        for _ in range(n):
            user, number = f"u{self.chance.randrange(40)}", self.sent["accepted"]
            kind = self.chance.random()
            if kind < 0.03:
                value, counted = b'{"user_id": "u1", "item_', "rejected"
            elif kind < 0.06 and number > 200:
                user = self.sender  # a repeat comes by the same partition
                value, counted = encode(self.event(user, "0")), "duplicates"
            elif kind < 0.08:
                value, counted = encode(Forget(user_id=user)), "accepted"
            else:
                self.sender = self.sender or user
                value, counted = encode(self.event(user, str(number))), "accepted"
            self.sent[counted] += 1
            records.append(NewRecord(user.encode(), value))
        self.log.append(TOPIC, records)

    def event(self, user: str, event_id: str) -> Interaction:
        item = f"i{int(80 * self.chance.random() ** 2)}"
        kind = self.chance.choice(["view", "cart"])
        return Interaction(user_id=user, item_id=item, event=kind, event_id=event_id)

    # --- the process

    def start(self) -> None:
        environment = {
            "SLUICE_HOME": str(self.home.folder),
            "SLUICE_MODEL_FILE": str(self.model_file),
            "SLUICE_STATUS_PORT": "0",
            "SLUICE_SEED": str(SEED),
            "SLUICE_WARMUP_EVENTS": str(WARMUP),
            "SLUICE_CHECKPOINT_SECONDS": "0.02",
        }
        with self.stderr.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sluice_trainer"],
                env=os.environ | environment,
                stdout=stderr,
                stderr=stderr,
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        assert self.process.wait(DEADLINE_S) == -signal.SIGKILL, self.tail()

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(DEADLINE_S) == 0, self.tail()

    def tail(self) -> str:
        return self.stderr.read_text()[-3000:]

    def alive(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.tail()
        return True

    def epoch(self) -> int:
        return self.catalog.epoch()

    # --- what it journaled

    def keep_journals(self) -> None:
        """Link every journal there is: a link sees what is appended later, and outlives its deletion."""
        for path in self.journals():
            if not (self.links / path.name).exists():
                with contextlib.suppress(FileNotFoundError):  # deleted since it was listed: linked long ago
                    os.link(path, self.links / path.name)

    def journals(self) -> list[Path]:
        """List them; a trainer that starts renames its folder, then the next look finds them."""
        try:
            return list(self.folder.glob("*/journal-*.log"))
        except FileNotFoundError:
            return []

    def plans(self) -> list[Plan]:
        """Return every plan journaled so far. Only reads: a live trainer may be writing the last line."""
        self.keep_journals()
        return plans_in(self.links)

    def learned(self) -> int:
        """How many records the journaled plans cover."""
        return sum(end - start for plan in self.plans() for start, end in plan.ranges.values())

    def catch_up(self) -> None:
        total = sum(self.sent.values())
        wait_for(lambda: self.alive() and self.learned() == total, f"plan that reaches {total} events")


def undisturbed(world: World, folder: Path) -> tuple[Trainer, EmbeddedCatalog, EvidenceTotals]:
    """Carry the journaled plans out once, without any checkpoint, kill or process in between."""
    trainer, store = Trainer(world.model, SEED), FolderStore(folder / "store")
    database = model_database(folder / "undisturbed.db")
    catalog, evidence = EmbeddedCatalog(database), EmbeddedEvidence(database)
    cutter, contenders = Cutter(store, catalog, catalog.claim()), Contenders(store)
    for plan in world.plans():
        records = []
        for part, (start, end) in sorted(plan.ranges.items()):
            partition = Partition(TOPIC, part)
            found = world.log.read({partition: start}, end - start, 1.0)
            assert [each.offset for each in found] == list(range(start, end))
            records += found
        evidence.append(trainer.apply(plan, records, contenders.of(plan.routing)).evidence)
        if trainer.cut_due(plan.rules):
            cutter.cut(trainer, plan.now)
    return trainer, catalog, evidence.totals("r", 0)


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait(DEADLINE_S)


def test_a_trainer_killed_at_random_instants_ends_bit_equal_to_an_undisturbed_run(world, tmp_path):
    import torch

    world.start()
    wait_for(lambda: world.alive() and any(world.folder.glob("*/journal-*.log")), "journal")
    world.keep_journals()
    world.send(2 * WARMUP)  # records; the warm-up counts what is left of them without repeats and nonsense
    wait_for(lambda: world.alive() and bool(world.catalog.entries()), "first snapshot")
    first = world.catalog.entries()[0].id
    world.routing.publish(Routing(epoch=1, rollout="r", stable=first, candidate=first, weight=0, renewed=0.0))
    for _ in range(3):
        world.send(CHUNK)
        world.catch_up()
    world.send(CHUNK)
    time.sleep(world.chance.uniform(0.0, 0.03))  # the instant of the fault
    world.kill()
    world.keep_journals()
    world.send(CHUNK)
    before = world.epoch()
    world.start()
    wait_for(lambda: world.alive() and world.epoch() > before, "new trainer")
    world.kill()  # once more, while it takes up what was left
    world.start()
    world.catch_up()
    world.send(CHUNK)
    world.catch_up()
    world.stop()

    final = checkpoint.newest(newest_folder(world.folder))
    position, plans = final.position, world.plans()
    assert [plan.sequence for plan in plans] == list(range(1, position.sequence + 1))
    accepted = position.interactions + position.forgets
    assert (accepted, position.duplicates, position.rejected) == tuple(world.sent.values())
    ends = world.log.end_offsets(TOPIC)
    assert position.offsets == {part.number: end for part, end in ends.items()}
    assert accepted + position.duplicates + position.rejected == sum(ends.values())

    torch.set_num_threads(1)
    with threadpool_limits(1):
        trainer, catalog, evidence = undisturbed(world, tmp_path)
    expected = trainer.checkpoint()
    assert position == expected.position
    assert (final.users, final.items) == (expected.users, expected.items)
    assert set(final.arrays) == set(expected.arrays)
    for name, array in expected.arrays.items():
        assert final.arrays[name].dtype == array.dtype, name
        assert final.arrays[name].tobytes() == array.tobytes(), name

    assert evidence.paired["mrr"].n > 50
    assert world.evidence.totals("r", 0).paired == evidence.paired  # heartbeats move its time alone
    entries, others = world.catalog.entries(), catalog.entries()
    assert len(entries) >= 4
    assert [(entry.id, entry.digest, entry.parent) for entry in entries] == [
        (other.id, other.digest, other.parent) for other in others
    ]
    store = world.home.snapshots(world.model.key)
    for entry in entries:
        assert verify(store / entry.id, entry.digest).interactions == entry.interactions
    assert {path.name for path in store.iterdir()} == {entry.id for entry in entries}
    assert not [path.name for path in world.folder.iterdir() if path.name.startswith(".")]
