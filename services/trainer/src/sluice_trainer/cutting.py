"""Cuts a snapshot: names it, measures its index, writes it, enters it in the catalog."""

import time
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import structlog

import sluice
from sluice import instruments, metrics
from sluice.catalog import Catalog, CatalogEntry
from sluice.errors import StaleEpoch, StorageUnavailable
from sluice.snapshot import writer
from sluice.snapshot.content import Histories
from sluice.snapshot.entry import entry_of
from sluice.snapshot.fidelity import QUERIES, fidelity
from sluice.snapshot.manifest import Manifest
from sluice.snapshot.store import SnapshotStore
from sluice.topics import topics_of
from sluice_trainer.checkpoint import Position
from sluice_trainer.forked import Task, Tell, start
from sluice_trainer.trainer import Trainer

_LOG = structlog.get_logger()
_SECONDS = instruments.histogram(metrics.CUT_SECONDS)
RETRY_S: Final = 1.0
PATIENCE_S: Final = 300.0
"""How long nothing is deleted after the store could not: a try that hangs would hold learning up."""


class Cutter:
    """Writes the snapshots of one model into its store and catalog, one at a time.

    With ``fork`` a child writes while the trainer goes on learning; a store that is full or away is tried again
    there until it takes the snapshot.
    """

    def __init__(self, store: SnapshotStore, catalog: Catalog, epoch: int, *, fork: bool = False) -> None:
        self._store, self._catalog, self._epoch, self._fork = store, catalog, epoch, fork
        self._pending: tuple[str, Task] | None = None
        self._began, self._stuck = 0.0, False
        self._garbage, self._store_back_at = True, 0.0

    def cut(self, trainer: Trainer, now: float) -> str:
        """Cut what ``trainer`` knows here and now, without a child, and return the snapshot's id.

        Raises :class:`StorageUnavailable` when the store is full or away and :class:`StaleEpoch` when a newer
        trainer has taken over.
        """
        name = self._begin(trainer, now, fork=False)
        self.settled()
        return name

    def begin(self, trainer: Trainer, now: float) -> str:
        """Begin to cut what ``trainer`` knows now and return the snapshot's id; none may be pending.

        A child waits for a store that is full or away. A replay finds the snapshot cut already.
        """
        return self._begin(trainer, now, fork=self._fork)

    def _begin(self, trainer: Trainer, now: float, *, fork: bool) -> str:
        name = snapshot_name(trainer)
        if self._catalog.get(name) is None:
            provenance = _provenance(trainer, name, now)

            def work(tell: Tell) -> bytes:
                return self._write(trainer, provenance, tell if fork else None)

            self._began, self._stuck = time.monotonic(), False
            self._pending = name, start(work, fork=fork)
        trainer.was_cut(name)
        return name

    def _write(self, trainer: Trainer, provenance: dict[str, Any], tell: Tell | None) -> bytes:
        name, parent = provenance["id"], provenance["parent"]
        content = msgspec.structs.replace(trainer.content(), histories=histories(trainer))
        measure = partial(fidelity, histories=content.histories)
        # A large index takes its parent's centroids over. If the parent is gone they are trained anew: then a
        # replayed cut has other bytes, which nobody has seen, for only what was never entered is cut again.
        from_parent = self._store.local(parent) if parent else None

        def write(directory: Path) -> Manifest:
            return writer.write(directory, content, provenance, measure, from_parent)

        while True:
            try:
                made = self._store.publish(name, write)
                return msgspec.json.encode(entry_of(self._store.uri(name), made, self._epoch))
            except StorageUnavailable as error:
                if tell is None:
                    raise
                tell(str(error))
                time.sleep(RETRY_S)

    @property
    def busy(self) -> bool:
        """Whether a snapshot is pending; a checkpoint made now would lose it if this process died."""
        return self._pending is not None

    @property
    def stuck(self) -> bool:
        """Whether a snapshot is pending that the store did not take; it is tried again until it does."""
        return self.busy and self._stuck

    def settled(self, timeout_s: float = 0.0) -> bool:
        """Enter the pending snapshot once it is written, waiting so long for it; return whether none is left.

        Raises :class:`StorageUnavailable` when the catalog cannot take it now: call again. Raises
        :class:`~sluice_trainer.forked.ChildDied` if it can only be cut by a replay of the journal.
        """
        if self._pending is None:
            return True
        name, task = self._pending
        ended = task.ended(timeout_s)
        for reason in task.told():
            self._stuck = True
            _LOG.error("storage unavailable, waiting", reason=reason)
        if not ended:
            return False
        entry = msgspec.json.decode(task.result(), type=CatalogEntry)
        self._catalog.commit(entry)
        self._pending = None
        took_s = time.monotonic() - self._began
        _SECONDS.observe(took_s)
        _LOG.info("snapshot cut", snapshot=name, took_ms=round(1e3 * took_s), **entry.metrics)
        return True

    def abandon(self) -> None:
        """End what is pending: a replay of the journal cuts it again."""
        if self._pending is not None:
            self._pending[1].kill()
            self._pending = None

    def sweep(self, oldest: Position | None, named: set[str]) -> None:
        """Delete what never got an entry, and what the rollout has released unless a replay may ask for it.

        ``oldest`` is the oldest checkpoint kept: a replay from it cuts again what was cut later. Without one
        nothing released is deleted. ``named`` are the snapshots that plans since then evaluate. Raises
        :class:`StaleEpoch` when a newer trainer has taken over, and then nothing more is deleted.
        """
        if self._garbage and not self.busy:
            self._tidy(self._clear_garbage)
        if oldest is not None:
            self._tidy(partial(self._sweep, oldest, named))

    def _clear_garbage(self) -> None:
        """Delete what never got an entry: an earlier trainer died, or was replaced, between the two.

        The store is listed before the catalog is read, so that what is entered meanwhile is not taken for
        garbage. An empty catalog beside a filled store is a lost catalog: nothing is deleted then.
        """
        there = self._store.ids()
        entered = {entry.id for entry in self._catalog.entries()}
        for name in sorted(there - entered) if entered else ():
            self._delete(name)
        self._garbage = False

    def _sweep(self, oldest: Position, named: set[str]) -> None:
        for entry in self._catalog.entries():
            cut_again = entry.spec_hash == oldest.spec_hash and entry.interactions > oldest.interactions
            if entry.released and entry.id not in named and not cut_again:
                self._delete(entry.id)  # the files first
                self._catalog.remove(entry.id)

    def _delete(self, name: str) -> None:
        """Delete a snapshot's files unless a newer trainer is there: it may be writing one of that name."""
        if (newest := self._catalog.epoch()) > self._epoch:
            raise StaleEpoch(f"trainer epoch {self._epoch} was replaced by {newest}; stop this trainer")
        self._store.delete(name)

    def _tidy(self, work: Callable[[], None]) -> None:
        """Delete what nobody needs, if the store can do that now: learning does not wait for it."""
        if time.monotonic() < self._store_back_at:
            return
        try:
            work()
        except StorageUnavailable as error:
            self._store_back_at = time.monotonic() + PATIENCE_S
            _LOG.warning("snapshots cannot be deleted now, it will be tried again", reason=str(error))


def snapshot_name(trainer: Trainer) -> str:
    """Return the id of a snapshot cut now: algorithm, interactions learned, hash of its provenance."""
    position = trainer.position
    provenance = f"{trainer.model.key} {position.spec_hash} {trainer.seed} {sorted(position.offsets.items())}"
    short = blake2b(provenance.encode(), digest_size=4).hexdigest()
    return f"{trainer.model.spec.algorithm.type.lower()}-{position.interactions:09d}-{short}"


def _provenance(trainer: Trainer, name: str, now: float) -> dict[str, Any]:
    position, spec = trainer.position, trainer.model.spec
    topic = topics_of(spec.source.name).interactions
    return {
        "id": name,
        "model": trainer.model.key,
        "parent": position.cut_snapshot,
        "algorithm": spec.algorithm.type.value,
        "parameters": dict(spec.algorithm.parameters),
        "spec_hash": position.spec_hash,
        "seed": trainer.seed,
        "code_version": sluice.__version__,
        "created": now,
        "offsets": {
            f"{topic}[{part}]": (position.began[part], end) for part, end in position.offsets.items()
        },
        "interactions": position.interactions,
        "metrics": trainer.window.summary(),
    }


def histories(trainer: Trainer) -> Histories | None:
    """Return the recent interactions of up to 256 users, spread over all; None while there are too few."""
    recent = trainer.recent
    users = np.flatnonzero(recent.items[:, -1] >= 0)
    if len(users) < QUERIES // 4:
        return None
    chosen = users[np.linspace(0, len(users) - 1, min(len(users), QUERIES)).astype(np.int64)]
    return Histories(recent.items[chosen, ::-1], recent.weights[chosen, ::-1])
