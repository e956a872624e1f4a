"""A deliberately bad candidate: the stable snapshot with its item ids shuffled. Sound files, useless answers."""

from typing import Final

import msgspec
import numpy as np

from sluice.catalog import Catalog
from sluice.snapshot import writer
from sluice.snapshot.content import NeighboursContent, UnitContent, VectorsContent
from sluice.snapshot.entry import entry_of
from sluice.snapshot.parts import VectorsPart
from sluice.snapshot.store import SnapshotStore
from sluice.snapshot.unit import ITEMS, Unit

PREFIX: Final = "sabotaged"


def sabotage(store: SnapshotStore, catalog: Catalog, stable: str, number: int) -> str:
    """Cut and commit the bad snapshot; returns its id. Every check but quality lets it through."""
    unit = Unit.open(store.open(stable), with_index=False)
    name = f"{PREFIX}-{number}-{stable}"[:63].rstrip("-")
    kept = {"model", "algorithm", "parameters", "spec_hash", "seed", "code_version", "created", "offsets"}
    source = msgspec.structs.asdict(unit.manifest)
    provenance = {field: source[field] for field in kept | {"interactions", "metrics"}}
    provenance |= {"id": name, "parent": stable}
    made = store.publish(name, lambda directory: writer.write(directory, _shuffled(unit), provenance))
    catalog.commit(entry_of(store.uri(name), made, catalog.entries()[-1].epoch))
    return name


def _shuffled(unit: Unit) -> UnitContent:
    identifiers = unit.items.ids.all()
    order = np.random.default_rng(0).permutation(len(identifiers))
    shuffled = [identifiers[row] for row in order]
    if isinstance(unit.items, VectorsPart):
        part: VectorsContent | NeighboursContent = VectorsContent(
            identifiers=shuffled, matrix=np.asarray(unit.items.matrix)
        )
    else:
        part = NeighboursContent(
            identifiers=shuffled, rows=unit.items.rows, similarities=unit.items.similarities
        )
    return UnitContent(
        parts={ITEMS: part}, encoder=unit.encoder, event_weights=unit.manifest.encoder.event_weights
    )
