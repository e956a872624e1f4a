"""A trainer's world in fault tests: its home, its stream, its process, and what an undisturbed run makes of it.

Plans are kept by hard links to the journals (a trainer deletes those that its checkpoints make needless). The
undisturbed run carries the same plans out in this process, from the same log into a store of its own.
"""

import contextlib
import os
import random
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from harness import Child, Children, until
from threadpoolctl import threadpool_limits

from sluice import models
from sluice.embedded.home import Home
from sluice.embedded.models import EmbeddedCatalog, EmbeddedEvidence, EmbeddedRouting, model_database
from sluice.events import NewRecord, Partition
from sluice.evidence import EvidenceTotals, Paired
from sluice.records import Forget, Interaction, encode
from sluice.routing import Routing
from sluice.snapshot.folder import FolderStore
from sluice.snapshot.verify import verify
from sluice.topics import topics_of
from sluice_trainer import checkpoint, journal
from sluice_trainer.batch import origin
from sluice_trainer.contenders import Contenders
from sluice_trainer.cutting import Cutter
from sluice_trainer.fencing import newest_folder
from sluice_trainer.journal import Plan
from sluice_trainer.trainer import Trainer

SEED, WARMUP = 5, 150
TOPICS = topics_of("shop")
DEADLINE_S = 60.0


def document(cut_events: int) -> dict[str, Any]:
    """Return a small model; its rows are so long that the gradients of most ``huge`` events overflow."""
    parameters = {"dimension": 16, "epochs": 1, "batch": 64, "learnNegatives": 2, "scale": "10"}
    return {
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "RecommenderModel",
        "metadata": {"name": "tiny"},
        "spec": {
            "algorithm": {"type": "GMF", "parameters": parameters},
            "source": {"name": "shop", "eventWeights": {"cart": "3", "huge": 12 * "9"}},
            "snapshots": {"events": cut_events, "interval": "10h"},
        },
    }


class World:
    """The home of one trainer."""

    def __init__(self, folder: Path, children: Children, *, cut_events: int = 150) -> None:
        self.model_file = folder / "model.yaml"
        self.model_file.write_text(yaml.safe_dump(document(cut_events)))
        self.model = models.load(self.model_file)
        self._children, self.home = children, Home(folder / "home")
        self.home.folder.mkdir(exist_ok=True)
        self._settle()
        self.log, database = self.home.log("shop"), self.home.model(self.model.key)
        self.catalog, self.evidence = EmbeddedCatalog(database), EmbeddedEvidence(database)
        self.routing = EmbeddedRouting(database)
        self.chance, self.sent = random.Random(1), 0

    def _settle(self) -> None:
        self.place = self.home.trainer(self.model.key) / Trainer(self.model, SEED).position.spec_hash
        self.links = self.home.trainer(self.model.key) / "links"
        self.links.mkdir(parents=True)

    def move(self) -> None:
        """Give the next trainer a disk of its own, and all else in common with the last one."""
        home = self.home.folder.with_name("elsewhere")
        home.mkdir()
        for shared in self.home.folder.iterdir():
            if shared.name != "trainer" and shared.suffix in ("", ".db"):
                (home / shared.name).symlink_to(shared)
        self.home = Home(home)
        self._settle()

    @property
    def folder(self) -> Path:
        """Where the newest trainer keeps its journals and checkpoints; no such folder before the first one."""
        return newest_folder(self.place) or self.place

    # --- the stream

    def send(self, count: int) -> None:
        """Append records: mostly interactions, some sent twice, forgets, nonsense, and some that no learner takes."""
        records = []
        for _ in range(count):
            user, kind = f"u{self.chance.randrange(40)}", self.chance.random()
            value = encode(self._event(user, self.sent, "huge" if kind > 0.99 else "view"))
            if kind < 0.03:
                value = b'{"user_id": "u1", "item_'
            elif kind < 0.05:
                value = encode(Forget(user_id=user))
            records += [NewRecord(user.encode(), value)] * (2 if 0.05 < kind < 0.09 else 1)
            self.sent += 1
        self.log.append(TOPICS.interactions, records)

    def _event(self, user: str, number: int, kind: str) -> Interaction:
        item = f"i{int(80 * self.chance.random() ** 2)}"
        value = 1e6 if kind == "huge" else 1.0
        return Interaction(user_id=user, item_id=item, event=kind, value=value, event_id=f"e{number}")

    # --- the process

    def start(self, **dying: Any) -> Child:
        environment = {
            "SLUICE_HOME": str(self.home.folder),
            "SLUICE_MODEL_FILE": str(self.model_file),
            "SLUICE_STATUS_PORT": "0",
            "SLUICE_SEED": str(SEED),
            "SLUICE_WARMUP_EVENTS": str(WARMUP),
            "SLUICE_CHECKPOINT_SECONDS": "0.05",
        }
        return self._children.start("sluice_trainer", environment=environment, **dying)

    def begin(self) -> Child:
        """Start a trainer, have it trained, and roll its first snapshot out so that there is evidence."""
        self.send(2 * WARMUP)
        child = self.start()
        # Plan 1 is linked before the first checkpoint deletes its journal.
        entries = until(lambda: self.plans() and self.catalog.entries(), "first snapshot", DEADLINE_S)
        first = entries[0].id
        self.routing.publish(
            Routing(epoch=1, rollout="r", stable=first, candidate=first, weight=0, renewed=0.0)
        )
        return child

    # --- what it journaled

    def plans(self) -> list[Plan]:
        """Return every plan journaled so far. Only reads: a live trainer may be writing the last line."""
        for path in self.place.glob("*/journal-*.log"):
            if not (self.links / path.name).exists():
                with contextlib.suppress(FileNotFoundError):  # deleted since it was listed: linked long ago
                    os.link(path, self.links / path.name)
        return journal.plans_in(self.links)

    def left(self) -> int:
        """How many records no journaled plan covers."""
        covered = sum(end - start for plan in self.plans() for start, end in plan.ranges.values())
        return sum(self.log.end_offsets(TOPICS.interactions).values()) - covered

    def learned(self, child: Child) -> None:
        """Wait until every record is in a plan."""
        until(lambda: not child.running or not self.left(), "plans for all that was sent", DEADLINE_S)
        assert child.running, child.says()[-3000:]

    def letters(self) -> list[tuple[int, int]]:
        """Return the origins of this model's dead letters, in no particular order."""
        ends = self.log.end_offsets(TOPICS.dead_letters)
        found = self.log.read(dict.fromkeys(ends, 0), 10_000, 0.0)
        headers = [dict(letter.headers) for letter in found]
        assert {each["reason"] for each in headers} <= {b"not-finite"}
        assert {each["model"] for each in headers} <= {self.model.key.encode()}
        return [(int(each["partition"]), int(each["offset"])) for each in headers]

    # --- what an undisturbed run makes of it

    def check(
        self, folder: Path, child: Child, *, left: Collection[str] = (), counted: Paired | None = None
    ) -> None:
        """Stop the trainer; all it leaves must be what an undisturbed run of the same plans leaves.

        A trainer on a disk of its own finds the snapshots that another one ``left``, and has evidence (of the
        reciprocal rank) added to what that one ``counted``.
        """
        assert child.stop(DEADLINE_S) == 0, child.says()[-3000:]
        final, plans = checkpoint.newest(self.folder), self.plans()
        assert final is not None
        assert [plan.sequence for plan in plans] == list(range(1, final.position.sequence + 1))
        ends = self.log.end_offsets(TOPICS.interactions)
        assert final.position.offsets == {part.number: end for part, end in ends.items()}
        trainer, catalog, evidence, refused = self._undisturbed(folder, left)
        expected = trainer.checkpoint()
        assert final.position == expected.position
        assert (final.users, final.items) == (expected.users, expected.items)
        assert set(final.arrays) == set(expected.arrays)
        for name, array in expected.arrays.items():
            assert final.arrays[name].dtype == array.dtype, name
            assert final.arrays[name].tobytes() == array.tobytes(), name
        position = final.position
        passed_over = position.duplicates + position.rejected + position.forgets
        assert position.interactions + passed_over == sum(ends.values()), "every record is counted once"
        letters = self.letters()
        assert len(set(letters)) == len(letters)
        assert set(letters) == set(refused) if counted is None else set(letters) >= set(refused)
        assert len(refused) == position.refused
        paired = self.evidence.totals("r", 0).paired  # heartbeats move its time alone
        if counted is None:
            assert paired == evidence.paired
        else:
            total = counted + evidence.paired.get("mrr", Paired())
            assert msgspec.structs.astuple(paired["mrr"]) == pytest.approx(msgspec.structs.astuple(total))
        ours = [entry for entry in self.catalog.entries() if entry.id not in left]
        theirs = catalog.entries()
        assert [(each.id, each.digest, each.parent) for each in ours] == [
            (each.id, each.digest, each.parent) for each in theirs
        ]
        self.check_store()

    def check_store(self) -> None:
        """Every snapshot listed is whole."""
        store = self.home.snapshots(self.model.key)
        for entry in self.catalog.entries():
            assert verify(store / entry.id, entry.digest).interactions == entry.interactions

    def _undisturbed(
        self, folder: Path, left: Collection[str]
    ) -> tuple[Trainer, EmbeddedCatalog, EvidenceTotals, list[Any]]:
        import torch

        torch.set_num_threads(1)
        trainer, store = Trainer(self.model, SEED), FolderStore(folder / "store")
        for name in left:
            shutil.copytree(self.home.snapshots(self.model.key) / name, folder / "store" / name)
        database = model_database(folder / "undisturbed.db")
        catalog, evidence = EmbeddedCatalog(database), EmbeddedEvidence(database)
        cutter, contenders = Cutter(store, catalog, catalog.claim()), Contenders(store)
        refused = []
        with threadpool_limits(1):
            for plan in self.plans():
                outcome = trainer.apply(plan, list(self._records(plan)), contenders.of(plan.routing))
                evidence.append(outcome.evidence)
                refused += [origin(each.key) for each in outcome.refused]
                if trainer.cut_due(plan.rules):
                    cutter.cut(trainer, plan.now)
        return trainer, catalog, evidence.totals("r", 0), refused

    def _records(self, plan: Plan) -> Iterator[Any]:
        for part, (start, end) in sorted(plan.ranges.items()):
            found = self.log.read({Partition(TOPICS.interactions, part): start}, end - start, 1.0)
            assert [each.offset for each in found] == list(range(start, end))
            yield from found
