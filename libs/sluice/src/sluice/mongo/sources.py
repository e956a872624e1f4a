"""Profiles, items and popularity of one source on MongoDB: one document per user, item, counted item."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
import pymongo
from pymongo import InsertOne, ReplaceOne, UpdateOne
from pymongo.collection import Collection as Documents

from sluice.encoder import RecentInteraction
from sluice.events import Partition
from sluice.items import Gain
from sluice.mongo.client import Document
from sluice.mongo.database import MongoDatabase, Write, again_when_overtaken, slices
from sluice.profile import Applied, Described, Profile, described, fold
from sluice.records import Item

_ABSENT: Final = {"$exists": False}
_BY_COUNT: Final = [("count", pymongo.DESCENDING), ("_id", pymongo.ASCENDING)]
_RECENT: Final = msgspec.json.Decoder(tuple[RecentInteraction, ...])
_SEEN: Final = msgspec.json.Decoder(tuple[str, ...])


def prepare_source(database: MongoDatabase, source: str) -> None:
    """Create the indexes of a source; those that exist are left alone."""
    database.run(f"{source}.popularity", lambda collection: collection.create_index(_BY_COUNT))


class MongoProfiles:
    """:class:`~sluice.profile.Profiles` on MongoDB.

    The two halves of a document have a writer each: interactions change ``recent``, ``seen`` and ``offsets`` if
    ``offsets`` are as read, a description changes the rest if ``described_at`` is. So two processes may do both at
    once, and so may two that read the same partition for a moment. What is a list or a mapping is JSON text: as
    readable as a document and, with 2,000 seen items, ten times as fast as an array. A forgotten user's
    document stays, with its offsets.
    """

    def __init__(self, database: MongoDatabase, source: str) -> None:
        self._database, self._name = database, f"{source}.profiles"

    def get(self, user_id: str) -> Profile | None:
        """See :class:`~sluice.profile.Profiles`."""
        document = self._database.read(self._name, lambda collection: collection.find_one({"_id": user_id}))
        profile = None if document is None else _profile(document)
        return profile if profile is not None and profile.known else None

    @again_when_overtaken
    def apply(self, partition: Partition, events: Mapping[str, Sequence[Applied]]) -> Mapping[str, Profile]:
        """See :class:`~sluice.profile.Profiles`."""
        return self._change(
            events, lambda profile: fold(profile, partition.number, events[profile.user_id]), _INTERACTIONS
        )

    @again_when_overtaken
    def describe(self, users: Mapping[str, Described]) -> Mapping[str, Profile]:
        """See :class:`~sluice.profile.Profiles`."""
        return self._change(users, lambda profile: described(profile, users[profile.user_id]), _DESCRIPTION)

    def _change(
        self,
        users: Collection[str],
        changed: Callable[[Profile], Profile],
        half: "_Half",
    ) -> Mapping[str, Profile]:
        """Write the half of each profile that has changed, if it still is as it was read; return the profiles."""
        found = _find(self._database.run, self._name, users)
        profiles = {document["_id"]: _profile(document) for document in found}
        stored: dict[str, Profile] = {}
        writes: list[Write] = []
        for user_id in users:
            before = profiles.get(user_id, Profile(user_id=user_id))
            stored[user_id] = after = changed(before)
            was = half.state(before)
            if half.state(after) == was:
                continue
            if user_id in profiles:
                writes.append(UpdateOne({"_id": user_id, **was}, {"$set": half.content(after)}))
            else:
                writes.append(InsertOne({"_id": user_id, **half.content(after)}))
        self._database.write(self._name, writes)
        return stored


class _Half(NamedTuple):
    """One half of a profile: what tells a state of it from others (as a filter), and all of it."""

    state: Callable[[Profile], Document]
    content: Callable[[Profile], Document]


def _offsets(profile: Profile) -> Document:
    return {f"p{part}": offset for part, offset in profile.offsets.items()}


_INTERACTIONS: Final = _Half(
    lambda profile: {"offsets": _offsets(profile) or _ABSENT},
    lambda profile: {
        "recent": _text(profile.recent),
        "seen": _text(profile.seen),
        "offsets": _offsets(profile),
    },
)
_DESCRIPTION: Final = _Half(
    lambda profile: {"described_at": profile.described_at if profile.described_at >= 0 else _ABSENT},
    lambda profile: {
        "features": list(profile.features),
        "interests": _text(profile.interests),
        "views": _text(profile.views),
        "described": profile.described,
        "described_at": profile.described_at,
    },
)


def _profile(document: Document) -> Profile:
    fields: dict[str, Any] = {"user_id": document["_id"]}
    if "offsets" in document:
        fields["recent"] = _RECENT.decode(document["recent"])
        fields["seen"] = _SEEN.decode(document["seen"])
        fields["offsets"] = {int(part[1:]): offset for part, offset in document["offsets"].items()}
    if "described_at" in document:
        fields["features"] = tuple(document["features"])
        fields["interests"] = msgspec.json.decode(document["interests"], type=dict[str, float])
        fields["views"] = msgspec.json.decode(document["views"])
        fields["described"], fields["described_at"] = document["described"], document["described_at"]
    return Profile(**fields)


class MongoItems:
    """:class:`~sluice.items.Items` on MongoDB. Attributes are JSON text: their names may be anything."""

    def __init__(self, database: MongoDatabase, source: str) -> None:
        self._database, self._name = database, f"{source}.items"

    @again_when_overtaken
    def put(self, items: Sequence[Item]) -> None:
        """See :class:`~sluice.items.Items`."""
        last = {item.item_id: _item_document(item) for item in items}
        self._database.write(
            self._name,
            [ReplaceOne({"_id": item_id}, document, upsert=True) for item_id, document in last.items()],
        )

    def delete(self, item_ids: Sequence[str]) -> None:
        """See :class:`~sluice.items.Items`."""
        for ids in map(_any_of, slices(item_ids)):
            self._database.run(self._name, partial(_delete, of=ids))

    def get(self, item_ids: Sequence[str]) -> dict[str, Item]:
        """See :class:`~sluice.items.Items`."""
        found = _find(self._database.read, self._name, item_ids)
        return {document["_id"]: _item(document) for document in found}


def _delete(collection: Documents[Document], of: Document) -> None:
    collection.delete_many(of)


def _item_document(item: Item) -> Document:
    return {
        "_id": item.item_id,
        "title": item.title,
        "features": list(item.features),
        "attributes": _text(item.attributes),
        "available": item.available,
    }


def _item(document: Document) -> Item:
    return Item(
        item_id=document["_id"],
        title=document["title"],
        features=tuple(document["features"]),
        attributes=msgspec.json.decode(document["attributes"]),
        available=document["available"],
    )


class MongoPopularity:
    """:class:`~sluice.items.Popularity` on MongoDB.

    A counter keeps, per partition, the offset up to which it counts that partition's events, in the item's own
    document beside the sum over all partitions: so the most popular are read off an index, and partitions add to
    an item at once. An event counts exactly once as long as an item's events are handed over in their order.
    """

    def __init__(self, database: MongoDatabase, source: str) -> None:
        self._database, self._name = database, f"{source}.popularity"

    @again_when_overtaken
    def apply(self, partition: Partition, gains: Sequence[Gain]) -> None:
        """See :class:`~sluice.items.Popularity`."""
        by_item: defaultdict[str, list[Gain]] = defaultdict(list)
        for gain in gains:
            by_item[gain.item_id].append(gain)
        place = _place(partition)
        found = _find(self._database.run, self._name, by_item, {f"offsets.{place}": 1})
        offsets = {document["_id"]: document.get("offsets", {}).get(place) for document in found}
        writes = [
            write
            for item_id, own in by_item.items()
            if (write := _counting(item_id, own, place, offsets)) is not None
        ]
        self._database.write(self._name, writes)

    def top(self, n: int) -> list[tuple[str, float]]:
        """See :class:`~sluice.items.Popularity`."""
        if n <= 0:  # to MongoDB, 0 means all
            return []

        def best(collection: Documents[Document]) -> list[Document]:
            return list(collection.find({}, {"count": 1}, sort=_BY_COUNT, limit=n, batch_size=n))

        return [(document["_id"], document["count"]) for document in self._database.read(self._name, best)]

    def of(self, item_ids: Collection[str]) -> dict[str, float]:
        """See :class:`~sluice.items.Popularity`."""
        found = _find(self._database.read, self._name, item_ids, {"count": 1})
        return {document["_id"]: document["count"] for document in found}


def _counting(
    item_id: str, gains: Sequence[Gain], place: str, offsets: Mapping[str, int | None]
) -> Write | None:
    """Return what adds the gains behind the offset read, None if there are none."""
    done = offsets.get(item_id)
    new = [gain for gain in gains if done is None or gain.offset > done]
    if not new:
        return None
    amount, last = sum(gain.amount for gain in new), new[-1].offset
    if item_id not in offsets:
        return InsertOne({"_id": item_id, "count": amount, "offsets": {place: last}})
    was = _ABSENT if done is None else done
    change = {"$inc": {"count": amount}, "$set": {f"offsets.{place}": last}}
    return UpdateOne({"_id": item_id, f"offsets.{place}": was}, change)


def _place(partition: Partition) -> str:
    """Return the field of a partition: topics hold dots, which would be fields of fields, but no slashes."""
    return f"{partition.topic}/{partition.number}".replace(".", "/")


def _find(
    how: Callable[[str, Callable[[Documents[Document]], list[Document]]], list[Document]],
    name: str,
    ids: Iterable[str],
    fields: Document | None = None,
) -> list[Document]:
    """Return the documents of ``ids`` that exist, asked for so many at a time, each time within a call's bounds."""
    asked = slices(list(ids))
    return [document for some in asked for document in how(name, partial(_those, ids=some, fields=fields))]


def _those(collection: Documents[Document], ids: Sequence[str], fields: Document | None) -> list[Document]:
    return list(collection.find(_any_of(ids), fields, batch_size=len(ids)))


def _any_of(ids: Sequence[str]) -> Document:
    return {"_id": {"$in": list(ids)}}


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
