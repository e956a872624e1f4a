"""Catalog and evidence of one model on MongoDB."""

from collections.abc import Callable
from typing import Final

import msgspec
from pymongo import InsertOne, ReplaceOne, UpdateOne

from sluice.catalog import CatalogEntry, is_new, require_newest_release
from sluice.evidence import (
    EvidenceRow,
    EvidenceTotals,
    Place,
    Tally,
    folded,
    is_news,
    place_of,
    totals_of,
)
from sluice.mongo.client import Document
from sluice.mongo.database import MongoDatabase, Write, again_when_overtaken

_CATALOG: Final = "catalog"


def prepare_model(database: MongoDatabase, model: str) -> None:
    """Create the indexes of a model; those that exist are left alone."""
    database.run(_evidence_of(model), lambda collection: collection.create_index("rollout"))


class _Shelf(msgspec.Struct, frozen=True, kw_only=True):
    """The catalog of one model: ``epoch`` is its newest trainer's, ``released_by`` that of the last release."""

    version: int = 0
    epoch: int = 0
    released_by: int = 0
    entries: tuple[CatalogEntry, ...] = ()

    def get(self, snapshot: str) -> CatalogEntry | None:
        return next((entry for entry in self.entries if entry.id == snapshot), None)


class MongoCatalog:
    """:class:`~sluice.catalog.Catalog` on MongoDB.

    One document per model, changed as a whole if its version is the one read: so what a claim, a commit and a
    release forbid one another holds without transactions. It is bounded by the snapshots a model keeps.
    """

    def __init__(self, database: MongoDatabase, model: str) -> None:
        self._database, self._model = database, model

    def claim(self) -> int:
        """See :class:`~sluice.catalog.Catalog`."""
        return self._change(lambda shelf: msgspec.structs.replace(shelf, epoch=shelf.epoch + 1)).epoch

    def epoch(self) -> int:
        """See :class:`~sluice.catalog.Catalog`."""
        return self._read({"epoch": 1}).epoch

    def commit(self, entry: CatalogEntry) -> None:
        """See :class:`~sluice.catalog.Catalog`."""
        self._change(lambda shelf: _committed(shelf, entry))

    def entries(self) -> list[CatalogEntry]:
        """See :class:`~sluice.catalog.Catalog`."""
        return list(self._read().entries)

    def get(self, snapshot: str) -> CatalogEntry | None:
        """See :class:`~sluice.catalog.Catalog`."""
        return self._read().get(snapshot)

    def release(self, snapshots: set[str], epoch: int) -> None:
        """See :class:`~sluice.catalog.Catalog`."""
        self._change(lambda shelf: _released(shelf, snapshots, epoch))

    def remove(self, snapshot: str) -> None:
        """See :class:`~sluice.catalog.Catalog`."""
        self._change(lambda shelf: _removed(shelf, snapshot))

    def _read(self, fields: Document | None = None) -> _Shelf:
        """Return the catalog, or of it what ``fields`` names."""
        document = self._database.run(
            _CATALOG, lambda collection: collection.find_one({"_id": self._model}, fields)
        )
        return _Shelf() if document is None else msgspec.convert(document, _Shelf)

    @again_when_overtaken
    def _change(self, changed: Callable[[_Shelf], _Shelf]) -> _Shelf:
        """Return the catalog after a change; nothing is written if that changes nothing."""
        before = self._read()
        after = changed(before)
        if after != before:
            after = msgspec.structs.replace(after, version=before.version + 1)
            document = {"_id": self._model, **msgspec.to_builtins(after)}
            self._database.write(_CATALOG, [_versioned(document, before.version)])
        return after


def _committed(shelf: _Shelf, entry: CatalogEntry) -> _Shelf:
    if is_new(entry, shelf.get(entry.id), shelf.epoch):
        return msgspec.structs.replace(shelf, entries=(*shelf.entries, entry))
    return shelf


def _released(shelf: _Shelf, snapshots: set[str], epoch: int) -> _Shelf:
    require_newest_release(epoch, shelf.released_by)
    entries = tuple(
        msgspec.structs.replace(entry, released=entry.released or entry.id in snapshots)
        for entry in shelf.entries
    )
    return msgspec.structs.replace(shelf, released_by=epoch, entries=entries)


def _removed(shelf: _Shelf, snapshot: str) -> _Shelf:
    kept = tuple(entry for entry in shelf.entries if entry.id != snapshot or not entry.released)
    return msgspec.structs.replace(shelf, entries=kept)


class MongoEvidence:
    """:class:`~sluice.evidence.EvidenceStore` on MongoDB.

    One document per writer, snapshot and rollout (and weight, of requests) with the sums so far, changed if its
    version is the one read: nothing grows with time, and the totals are a read of a few documents. One more per
    rollout says, by kind, when the row taken in last was written.
    """

    def __init__(self, database: MongoDatabase, model: str) -> None:
        self._database, self._name = database, _evidence_of(model)

    def append(self, rows: list[EvidenceRow]) -> None:
        """See :class:`~sluice.evidence.EvidenceStore`."""
        if rows:
            self._append(rows, {})

    @again_when_overtaken
    def _append(self, rows: list[EvidenceRow], news: dict[str, dict[str, float]]) -> None:
        """Fold rows in. ``news`` (by rollout and kind) outlives a try that was overtaken: its rows may be counted."""
        places = {_key(place): place for place in map(place_of, rows)}
        ids = {"_id": {"$in": list(places)}}
        found = self._database.run(self._name, lambda collection: list(collection.find(ids)))
        versions = {places[document["_id"]]: document["version"] for document in found}
        before = {places[document["_id"]]: _tally(document) for document in found}
        after = dict(before)
        for row in rows:
            place = place_of(row)
            was = after.get(place, Tally())
            after[place] = folded(was, row)
            if is_news(was, after[place], row):
                news.setdefault(row.rollout, {})[row.kind] = row.at
        writes: list[Write] = [
            _versioned(_document(place, tally, versions.get(place, 0) + 1), versions.get(place, 0))
            for place, tally in after.items()
            if tally != before.get(place, Tally())
        ]
        self._database.write(self._name, [*writes, *(_written(*each) for each in news.items())])

    def totals(self, rollout: str, weight_epoch: int) -> EvidenceTotals:
        """See :class:`~sluice.evidence.EvidenceStore`."""
        found = self._database.run(self._name, lambda collection: list(collection.find({"rollout": rollout})))
        written: dict[str, float] = next(
            (document["written"] for document in found if "written" in document), {}
        )
        tallies = {_place(document): _tally(document) for document in found if "written" not in document}
        return totals_of(tallies, written, weight_epoch)

    def purge(self, keep: set[str]) -> None:
        """See :class:`~sluice.evidence.EvidenceStore`."""
        others = {"rollout": {"$nin": list(keep)}}
        self._database.run(self._name, lambda collection: collection.delete_many(others))


def _evidence_of(model: str) -> str:
    return f"{model}.evidence"


def _key(place: Place) -> str:
    return " ".join(map(str, place))


def _document(place: Place, tally: Tally, version: int) -> Document:
    return {
        "_id": _key(place),
        **place._asdict(),
        "version": version,
        **msgspec.to_builtins(tally),
    }


def _place(document: Document) -> Place:
    return Place(*(document[field] for field in Place._fields))


def _tally(document: Document) -> Tally:
    return msgspec.convert(document, Tally)


def _written(rollout: str, news: dict[str, float]) -> Write:
    """Return what notes when a rollout's rows were written; its id holds no blank, unlike those of tallies."""
    fields = {"rollout": rollout} | {f"written.{kind}": at for kind, at in news.items()}
    return UpdateOne({"_id": rollout}, {"$set": fields}, upsert=True)


def _versioned(document: Document, version: int) -> Write:
    """Return what replaces a document of that version, 0 if there is none."""
    if version == 0:
        return InsertOne(document)
    return ReplaceOne({"_id": document["_id"], "version": version}, document)
