"""The catalog: the list of snapshots of one model. A snapshot exists once it has an entry here."""

from typing import Protocol

import msgspec

from sluice.errors import Conflict, StaleEpoch


class CatalogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One snapshot: where it lies, what it is, and the sha256 of its manifest (``digest``).

    ``epoch`` is that of the trainer that cut it, ``created`` Unix seconds, ``bytes`` the size of its files.
    ``released`` = the rollout no longer needs it, so the trainer may delete it.
    """

    id: str
    uri: str
    digest: str
    parent: str | None
    algorithm: str
    spec_hash: str
    epoch: int
    created: float
    interactions: int
    bytes: int
    metrics: dict[str, float]
    released: bool = False


def is_new(entry: CatalogEntry, existing: CatalogEntry | None, newest_epoch: int) -> bool:
    """Return whether a commit inserts ``entry``; raises what :meth:`Catalog.commit` does."""
    if entry.epoch < newest_epoch:
        raise StaleEpoch(f"trainer epoch {entry.epoch} was replaced by {newest_epoch}; stop this trainer")
    if existing is not None and existing.digest != entry.digest:
        raise Conflict(f"snapshot {entry.id} exists with another digest; cut it under a new id")
    return existing is None


def require_newest_release(epoch: int, newest: int) -> None:
    """Raise :class:`StaleEpoch` if a release carries an epoch below the ``newest`` heard of."""
    if epoch < newest:
        raise StaleEpoch(f"release epoch {epoch} was replaced by {newest}; decide anew")


class Catalog(Protocol):
    """Port: snapshots of one model, and the fence between its trainers."""

    def claim(self) -> int:
        """Return a trainer epoch above all earlier ones; older trainers are refused from now on."""

    def epoch(self) -> int:
        """Return the newest epoch claimed, 0 if none was: a trainer below it has been replaced."""

    def commit(self, entry: CatalogEntry) -> None:
        """Insert an entry; the same id and digest again changes nothing.

        Raises :class:`~sluice.errors.StaleEpoch` if a newer trainer has claimed the model and
        :class:`~sluice.errors.Conflict` if the id exists with another digest.
        """

    def entries(self) -> list[CatalogEntry]:
        """Return all entries in the order of their commit."""

    def get(self, snapshot: str) -> CatalogEntry | None:
        """Return one entry."""

    def release(self, snapshots: set[str], epoch: int) -> None:
        """Mark entries as no longer needed by the rollout; ``epoch`` is that of the rollout's decision.

        Without snapshots it only makes the epoch known. Raises :class:`~sluice.errors.StaleEpoch`, and
        marks nothing, if a higher one is known.
        """

    def remove(self, snapshot: str) -> None:
        """Delete a released entry (its files go first)."""
