"""The trainer's own loop over recorded events: nothing is learned differently than when they stream in."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import msgspec

from sluice.backing import Backing
from sluice.catalog import CatalogEntry
from sluice.embedded.home import lock
from sluice.errors import InvalidSetting, StorageUnavailable
from sluice.events import NewRecord
from sluice.model import RecommenderModel, Snapshots
from sluice.records import Interaction, Item, encode
from sluice.settings import Settings
from sluice.topics import topics_of
from sluice_cli import connections

if TYPE_CHECKING:
    from sluice_trainer.loop import Loop

CHUNK: Final = 128
"""A trainer's turn takes so many of one partition, hence chunks keep the stream's order across partitions."""
SEED: Final = 0
NEVER: Final = 1_000_000_000


class OfflineLoop:
    """Log, trainer and catalog of one model below ``folder``, driven by hand; a context that ends with it."""

    def __init__(self, model: RecommenderModel, folder: Path, *, cut_every: int = NEVER) -> None:
        for library in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(library, "1")  # read once, when the trainer's libraries are imported
        from sluice_trainer.trainer import Trainer

        source, self._backing = model.spec.source.name, Backing(_embedded(folder))
        self._topics, self._log = topics_of(source), self._backing.log(source)
        self.catalog, self.routing = self._backing.catalog(model.key), self._backing.routing(model.key)
        self.trainer = Trainer(_cutting(model, cut_every), SEED)
        self._loop: Loop | None = None

    def __enter__(self) -> Self:
        self._held = lock(self._backing.home.folder)  # a running platform holds it
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None:
            self._loop.close()  # the loop of a process ends with it, this one does not
        self._held.close()

    def start(self, history: Sequence[Interaction], items: Sequence[Item]) -> None:
        """Append ``history``, then learn all that the log holds: one fit if the trainer is new, which is cut."""
        self._append(self._topics.items, [NewRecord(each.item_id.encode(), encode(each)) for each in items])
        self._append(self._topics.interactions, _records(history))
        self._before = {entry.id for entry in self.catalog.entries()}
        self._loop = self._open(warmup=max(1, sum(self._ends().values())))
        self._catch_up()

    def stream(self, interactions: Sequence[Interaction]) -> Iterator[int]:
        """Append and learn the rest a chunk at a time; yield how many of them are learned."""
        for begin in range(0, len(interactions), CHUNK):
            self._append(self._topics.interactions, _records(interactions[begin : begin + CHUNK]))
            self._catch_up()
            yield min(begin + CHUNK, len(interactions))

    def cut(self) -> CatalogEntry | None:
        """Cut what is not cut yet, checkpoint, and return the newest snapshot; None if nothing is new to it."""
        from sluice_trainer.cutting import Cutter

        position = self.trainer.position
        if position.interactions > position.cut_interactions:
            store = self._backing.snapshots(self.trainer.model.key)
            Cutter(store, self.catalog, self.catalog.epoch()).cut(
                self.trainer, time.time()
            )  # the loop's own epoch
        self._started.save()
        newest = self.catalog.entries()[-1]
        return None if newest.id in self._before else newest

    @property
    def _started(self) -> "Loop":
        assert self._loop is not None, "start comes first"
        return self._loop

    def _open(self, warmup: int) -> "Loop":
        from sluice_trainer.loop import Loop

        key = self.trainer.model.key
        return Loop(
            self.trainer,
            folder=self._backing.home.trainer(key) / self.trainer.position.spec_hash,
            store=self._backing.snapshots(key),
            log=self._log,
            catalog=self.catalog,
            evidence=self._backing.evidence(key),
            routing=self.routing,
            warmup_events=warmup,
            checkpoint_s=float("inf"),
        )

    def _append(self, topic: str, records: list[NewRecord]) -> None:
        if records:
            self._log.append(topic, records)

    def _ends(self) -> dict[int, int]:
        return {part.number: end for part, end in self._log.end_offsets(self._topics.interactions).items()}

    def _catch_up(self) -> None:
        ends = self._ends()
        while any(self.trainer.position.offsets.get(part, 0) < end for part, end in ends.items()):
            if not self._started.turn():
                raise StorageUnavailable("the event log ends before its end offset; use another --home")


def _embedded(folder: Path) -> Settings:
    """Return the settings of an embedded home; a platform's that is not embedded has no events to join here."""
    settings = connections.settings_of(folder)
    if connections.connected(settings):
        raise InvalidSetting(f"{folder} belongs to a platform on servers of its own; name another --home")
    return settings


def _cutting(model: RecommenderModel, every: int) -> RecommenderModel:
    """Return the model with snapshots cut by count alone."""
    snapshots = Snapshots(interval="100000h", events=every)
    spec = msgspec.structs.replace(model.spec, snapshots=snapshots)
    return msgspec.structs.replace(model, spec=spec)


def _records(interactions: Sequence[Interaction]) -> list[NewRecord]:
    return [NewRecord(each.user_id.encode(), encode(each)) for each in interactions]
