"""A unit opened for reading: files mapped, encoder restored. The one reader of evaluation and serving."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sluice import encoder as encoders
from sluice.encoder import RECENT_LIMIT, Query, RecentInteraction, Rows
from sluice.errors import SnapshotRefused
from sluice.snapshot import ids, manifest, parts
from sluice.snapshot.index import open_index
from sluice.snapshot.manifest import Manifest
from sluice.snapshot.parts import NeighboursPart, VectorsPart
from sluice.snapshot.selection import Found, Mask

ITEMS: Final = "items"
USERS: Final = "users"
_ARRAYS: Final = {"vectors": ("matrix", "norms"), "neighbours": ("neighbours", "similarities")}
_SHAPES: Final = {
    "matrix": ("<f4", 2),
    "norms": ("<f4", 1),
    "neighbours": ("<i4", 2),
    "similarities": ("<f4", 2),
    "ids": ("|u1", 1),
    "ends": ("<i8", 1),
    "hashes": ("<u8", 1),
    "rows": ("<i4", 1),
}
"""Element type and number of dimensions of each file of a part."""

AnyPart = VectorsPart | NeighboursPart
Named = list[tuple[str, float]]


class Unit:
    """An opened snapshot. ``items`` is the part that recommends items, ``users`` tells who is alike, if any."""

    def __init__(
        self, made: Manifest, items: AnyPart, encoder: encoders.Encoder, users: AnyPart | None = None
    ) -> None:
        self.manifest, self.items, self.encoder, self.users = made, items, encoder, users

    @classmethod
    def open(cls, directory: Path, *, with_index: bool = True) -> "Unit":
        """Map a verified unit. ``with_index=False`` spares evaluation the Faiss index.

        Raises :class:`SnapshotRefused` if files and manifest do not fit each other.
        """
        made = manifest.read(directory)
        if ITEMS not in made.parts:
            raise SnapshotRefused(f"{made.id} has no part named {ITEMS}")
        items = _part(directory, made, ITEMS, with_index)
        users = _part(directory, made, USERS, with_index) if USERS in made.parts else None
        names = [name.split(".")[1] for name in made.files if name.startswith("encoder.")]
        encoder = encoders.restore(
            made.encoder.kind,
            made.encoder.parameters,
            {name: _encoding(directory, name) for name in names},
        )
        return _tried(cls(made, items, encoder, users))

    @property
    def id(self) -> str:
        """The snapshot's id."""
        return self.manifest.id

    def warm(self) -> None:
        """Touch what searches read, so that the first of them does not wait for the disk."""
        for part in (self.items, self.users):
            if part is not None:
                part.warm()

    def encode(self, recent: Sequence[RecentInteraction]) -> Query:
        """Return the query of one user from recent interactions, newest first."""
        recent = recent[:RECENT_LIMIT]
        rows = self.items.ids.rows_of([each.item_id for each in recent])[None, :]
        return self.encode_rows(rows, encoders.weigh(recent, self.manifest.encoder.event_weights))

    def encode_rows(self, rows: Rows, weights: encoders.Matrix) -> Query:
        """Return the queries of a batch given as this unit's rows, see :mod:`sluice.encoder`."""
        matrix = self.items.matrix if isinstance(self.items, VectorsPart) else None
        return self.encoder.encode(rows, weights, matrix)

    def recommend(
        self,
        recent: Sequence[RecentInteraction],
        k: int,
        exclude: Sequence[str],
        *,
        blocked: Mask | None = None,
        only: Rows | None = None,
    ) -> Named:
        """Return up to ``k`` (item id, score), best first, without ``exclude``.

        ``blocked`` and ``only`` are of rows of ``items``, see :class:`~sluice.snapshot.parts.Part`.
        """
        part = self.items
        found = part.search(self.encode(recent), k, _known(part, exclude), blocked=blocked, only=only)
        return _named(part, found)

    def similar(
        self,
        item_id: str,
        k: int,
        exclude: Sequence[str] = (),
        *,
        blocked: Mask | None = None,
        only: Rows | None = None,
    ) -> Named | None:
        """Return up to ``k`` items most alike to ``item_id``; None if this unit lacks it."""
        return _alike(self.items, item_id, k, exclude, blocked, only)

    def similar_users(
        self, user_id: str, k: int, exclude: Sequence[str] = (), *, blocked: Mask | None = None
    ) -> Named | None:
        """Return up to ``k`` users most alike to ``user_id``; None if this unit lacks that user or any."""
        return None if self.users is None else _alike(self.users, user_id, k, exclude, blocked, None)


def _alike(
    part: AnyPart, identifier: str, k: int, exclude: Sequence[str], blocked: Mask | None, only: Rows | None
) -> Named | None:
    row = part.ids.row_of(identifier)
    if row < 0:
        return None
    return _named(part, part.similar(row, k, _known(part, exclude), blocked=blocked, only=only))


def _known(part: AnyPart, identifiers: Sequence[str]) -> Rows:
    rows = part.ids.rows_of(identifiers)
    return rows[rows >= 0]


def _named(part: AnyPart, found: Found) -> Named:
    return list(zip(map(part.ids.id_of, found.rows.tolist()), found.scores.tolist(), strict=True))


def _part(directory: Path, made: Manifest, name: str, with_index: bool) -> AnyPart:
    part = made.parts[name]
    arrays = {file: _shaped(directory, name, file) for file in _ARRAYS.get(part.kind, ())}
    id_arrays = {file: _shaped(directory, name, file) for file in ids.FILES}
    if len(id_arrays["rows"]) != part.rows:
        raise SnapshotRefused(f"part {name} has {len(id_arrays['rows'])} rows, its manifest says {part.rows}")
    index = open_index(directory / f"{name}.index", part) if with_index and part.kind == "vectors" else None
    return parts.load(part.kind, id_arrays, arrays, index)


def _shaped(directory: Path, part: str, file: str) -> NDArray[Any]:
    array, (kind, dimensions) = _map(directory / f"{part}.{file}.npy"), _SHAPES[file]
    if array.dtype.str != kind or array.ndim != dimensions or not array.flags.c_contiguous:
        raise SnapshotRefused(
            f"{part}.{file}.npy holds {array.dtype.str} in {array.ndim} dimensions instead of {kind}"
            f" in {dimensions}, row by row"
        )
    return array


def _encoding(directory: Path, name: str) -> NDArray[Any]:
    array = _map(directory / f"encoder.{name}.npy")
    if array.dtype.kind not in "iu" and array.dtype.str != "<f4":
        raise SnapshotRefused(f"encoder.{name}.npy holds {array.dtype.str} instead of <f4 or integers")
    return array


def _map(path: Path) -> NDArray[Any]:
    """Map an array, handed on plain: every slice of a numpy.memmap costs microseconds of bookkeeping."""
    try:
        with np.errstate(over="raise"):  # a shape whose product overflows
            array = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, ArithmeticError) as error:
        raise SnapshotRefused(f"{path.name} cannot be mapped: {str(error)[:200]}") from error
    return np.asarray(array)


def _tried(unit: Unit) -> Unit:
    """Ask once: what does not fit together shows now, not in front of a user."""
    try:
        for asked in ([], [RecentInteraction(unit.items.ids.id_of(0))] if len(unit.items.ids) else []):
            query = unit.encode(asked)
            if query.vectors is not None and len(query.vectors) != 1:
                raise ValueError(f"one user's query has the shape {query.vectors.shape}")
            unit.items.search(query, 1, np.empty(0, dtype=np.int32))
    except (ValueError, TypeError, IndexError, ArithmeticError, AssertionError) as error:
        raise SnapshotRefused(
            f"{unit.id} cannot be searched, its files do not fit each other: {str(error)[:200]}"
        ) from error
    return unit
