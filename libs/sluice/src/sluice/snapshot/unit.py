"""A unit opened for reading: files mapped, encoder restored. The one reader of evaluation and serving."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sluice import encoder as encoders
from sluice.encoder import RECENT_LIMIT, Query, RecentInteraction
from sluice.errors import SnapshotRefused
from sluice.snapshot import ids, manifest, parts
from sluice.snapshot.manifest import Manifest
from sluice.snapshot.parts import Found, NeighboursPart, VectorsPart

ITEMS: Final = "items"
_ARRAYS: Final = {"vectors": ("matrix", "norms"), "neighbours": ("neighbours", "similarities")}


class Unit:
    """An opened snapshot. ``items`` is the part that recommends items."""

    def __init__(
        self, made: Manifest, items: VectorsPart | NeighboursPart, encoder: encoders.Encoder
    ) -> None:
        self.manifest, self.items, self.encoder = made, items, encoder

    @classmethod
    def open(cls, directory: Path, *, with_index: bool = True) -> "Unit":
        """Map a verified unit. ``with_index=False`` spares evaluation the Faiss index.

        Raises :class:`SnapshotRefused` if files and manifest do not fit each other.
        """
        made = manifest.read(directory)
        part = made.parts.get(ITEMS)
        if part is None:
            raise SnapshotRefused(f"{made.id} has no part named {ITEMS}")
        arrays = {name: _map(directory / f"{ITEMS}.{name}.npy") for name in _ARRAYS.get(part.kind, ())}
        id_arrays = {name: _map(directory / f"{ITEMS}.{name}.npy") for name in ids.FILES}
        index = directory / f"{ITEMS}.index" if with_index and part.kind == "vectors" else None
        names = [name.split(".")[1] for name in made.files if name.startswith("encoder.")]
        encoder = encoders.restore(
            made.encoder.kind,
            made.encoder.parameters,
            {name: _map(directory / f"encoder.{name}.npy") for name in names},
        )
        return cls(made, parts.load(part.kind, id_arrays, arrays, index), encoder)

    @property
    def id(self) -> str:
        """The snapshot's id."""
        return self.manifest.id

    def encode(self, recent: Sequence[RecentInteraction]) -> Query:
        """Return the query of one user from recent interactions, newest first."""
        recent = recent[:RECENT_LIMIT]
        rows = self.items.ids.rows_of(each.item_id for each in recent)[None, :]
        return self.encode_rows(rows, encoders.weigh(recent, self.manifest.encoder.event_weights))

    def encode_rows(self, rows: encoders.Rows, weights: encoders.Matrix) -> Query:
        """Return the queries of a batch given as this unit's rows, see :mod:`sluice.encoder`."""
        matrix = self.items.matrix if isinstance(self.items, VectorsPart) else None
        return self.encoder.encode(rows, weights, matrix)

    def recommend(
        self, recent: Sequence[RecentInteraction], k: int, exclude: Sequence[str]
    ) -> list[tuple[str, float]]:
        """Return up to ``k`` (item id, score), best first, without ``exclude``."""
        rows = parts.row_array(self.items.ids.rows_of(exclude).tolist())
        return self._named(self.items.search(self.encode(recent), k, rows))

    def similar(self, item_id: str, k: int) -> list[tuple[str, float]] | None:
        """Return up to ``k`` items most alike to ``item_id``; None if this unit lacks it."""
        row = self.items.ids.row_of(item_id)
        return None if row < 0 else self._named(self.items.similar(row, k))

    def _named(self, found: Found) -> list[tuple[str, float]]:
        return [
            (self.items.ids.id_of(row), score)
            for row, score in zip(found.rows.tolist(), found.scores.tolist(), strict=True)
        ]


def _map(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SnapshotRefused(f"{path.name} cannot be mapped: {error}") from error
    return array
