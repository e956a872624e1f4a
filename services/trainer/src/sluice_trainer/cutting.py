"""Cuts a snapshot: names it, measures its index, writes it, enters it in the catalog."""

import shutil
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np

import sluice
from sluice.catalog import Catalog
from sluice.encoder import Query
from sluice.errors import StorageUnavailable
from sluice.snapshot import writer
from sluice.snapshot.entry import entry_of
from sluice.snapshot.parts import VectorsPart, top
from sluice.snapshot.unit import Unit
from sluice.topics import topics_of
from sluice_trainer.trainer import Trainer

FIDELITY_QUERIES: Final = 200
FIDELITY_K: Final = 20


class Cutter:
    """Writes the snapshots of one model into its store and catalog."""

    def __init__(self, store: Path, catalog: Catalog, epoch: int) -> None:
        self._store, self._catalog, self._epoch = store, catalog, epoch
        self._clear_garbage()

    def _clear_garbage(self) -> None:
        """Delete directories that never got an entry: an earlier trainer died between the two.

        An empty catalog beside a filled store is a lost catalog, not garbage: nothing is deleted then.
        """
        entered = {entry.id for entry in self._catalog.entries()}
        for directory in self._store.iterdir() if entered and self._store.exists() else ():
            if directory.name not in entered:
                shutil.rmtree(directory, ignore_errors=True)

    def cut(self, trainer: Trainer, now: float) -> str:
        """Cut what ``trainer`` knows now and return the snapshot's id; a replay finds it cut already.

        Raises :class:`StorageUnavailable` when the store is full and :class:`~sluice.errors.StaleEpoch`
        when a newer trainer has taken over.
        """
        name = snapshot_name(trainer)
        if self._catalog.get(name) is None:
            self._write(name, trainer, now)
        trainer.was_cut(name, now)
        return name

    def _write(self, name: str, trainer: Trainer, now: float) -> None:
        directory = self._store / name
        try:
            made = writer.write(directory, trainer.content(), _provenance(trainer, name, now), fidelity)
        except OSError as error:
            raise StorageUnavailable(f"{name} cannot be written: {error.strerror}; free the store") from error
        self._catalog.commit(entry_of(directory, made, self._epoch))

    def sweep(self) -> None:
        """Delete what the rollout has released, files first."""
        for entry in self._catalog.entries():
            if entry.released:
                shutil.rmtree(self._store / entry.id, ignore_errors=True)
                self._catalog.remove(entry.id)


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


def fidelity(unit: Unit) -> dict[str, float]:
    """Return ``indexRecall``: the share of the exact top 20 that the index finds.

    Asked with what users really ask: the encoded histories of single items, spread over the catalogue.
    """
    if not isinstance(unit.items, VectorsPart):
        return {"indexRecall": 1.0}  # a neighbours part is searched exactly
    items = len(unit.items.ids)
    rows = np.unique(np.linspace(0, items - 1, min(items, FIDELITY_QUERIES)).astype(np.int32))
    shares = []
    for row in rows:
        query = unit.encode_rows(np.array([[row]], dtype=np.int32), np.ones((1, 1), dtype=np.float32))
        shares.append(_share(unit.items, query))
    return {"indexRecall": float(np.mean(shares)) if shares else 1.0}


def _share(part: VectorsPart, query: Query) -> float:
    """Return how much of the exact top is found; by score, because items of equal score are equally right."""
    nothing = np.empty(0, dtype=np.int32)
    scores = part.scores(query)[0]
    exact = top(scores, FIDELITY_K, nothing)
    found = part.search(query, FIDELITY_K, nothing).rows
    least = exact.scores[-1] - 1e-5 * max(1.0, abs(float(exact.scores[-1])))
    return float((scores[found] >= least).sum()) / len(exact.rows)
