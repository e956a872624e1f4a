"""Caches of profiles, items and popularity above the store that is the truth.

Reads ask Redis first and then the store, writes go to the store first and then to Redis. A Redis that fails is passed
over; what is written meanwhile may be seen in its former state for 60 s. A store that did not answer a read is not
asked again for a second: who finds nothing in Redis gets :class:`~sluice.errors.StorageUnavailable` at once.
Writes always reach the store.

While MongoDB has no primary, a secondary answers reads with what was true up to 90 s ago; that is cached for 60 s
like anything read, where nothing is. ``space`` keeps the keys of one store apart from those of others in the same
Redis: ``<database>.<source>``.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

import msgspec

from sluice.events import Partition
from sluice.items import Items
from sluice.profile import Applied, Described, Profile, Profiles
from sluice.records import Item
from sluice.redis.connection import RedisConnection
from sluice.redis.entries import MISSING, Entries
from sluice.redis.popularity import CachedPopularity
from sluice.redis.reads import StoreReads

__all__ = ["CachedItems", "CachedPopularity", "CachedProfiles"]

_PROFILE: Final = msgspec.msgpack.Decoder(Profile)
_ITEM: Final = msgspec.msgpack.Decoder(Item)
R = TypeVar("R", Profile, Item)


class CachedProfiles:
    """:class:`~sluice.profile.Profiles` of which the recently read and the recently written are in Redis."""

    def __init__(self, port: Profiles, connection: RedisConnection, space: str) -> None:
        self._store, self._reads = port, StoreReads("profiles")
        self._entries = Entries(connection, "profile", space)

    def get(self, user_id: str) -> Profile | None:
        """See :class:`~sluice.profile.Profiles`."""
        cached = _decoded(self._entries.get([user_id]), _PROFILE)
        if user_id in cached:
            return cached[user_id]
        return self._reads.ask(
            lambda: self._store.get(user_id), lambda profile: self._entries.keep({user_id: _encoded(profile)})
        )

    def apply(self, partition: Partition, events: Mapping[str, Sequence[Applied]]) -> Mapping[str, Profile]:
        """See :class:`~sluice.profile.Profiles`."""
        return self._written(self._store.apply(partition, events))

    def describe(self, users: Mapping[str, Described]) -> Mapping[str, Profile]:
        """See :class:`~sluice.profile.Profiles`."""
        return self._written(self._store.describe(users))

    def _written(self, profiles: Mapping[str, Profile]) -> Mapping[str, Profile]:
        self._entries.put({user_id: _encoded(profile) for user_id, profile in profiles.items()})
        return profiles


class CachedItems:
    """:class:`~sluice.items.Items` of which the recently read and the recently written are in Redis."""

    def __init__(self, port: Items, connection: RedisConnection, space: str) -> None:
        self._store, self._reads = port, StoreReads("items")
        self._entries = Entries(connection, "item", space)

    def get(self, item_ids: Sequence[str]) -> dict[str, Item]:
        """See :class:`~sluice.items.Items`."""
        cached = _decoded(self._entries.get(item_ids), _ITEM)
        missing = [each for each in item_ids if each not in cached]
        found = {each: item for each, item in cached.items() if item is not None}
        if missing:
            found |= self._reads.ask(lambda: self._store.get(missing), partial(self._keep, missing))
        return found

    def _keep(self, asked: Sequence[str], read: Mapping[str, Item]) -> None:
        self._entries.keep({item_id: _encoded(read.get(item_id)) for item_id in asked})

    def put(self, items: Sequence[Item]) -> None:
        """See :class:`~sluice.items.Items`."""
        self._store.put(items)
        self._entries.put({item.item_id: _encoded(item) for item in items})

    def delete(self, item_ids: Sequence[str]) -> None:
        """See :class:`~sluice.items.Items`."""
        self._store.delete(item_ids)
        self._entries.put(dict.fromkeys(item_ids, MISSING))


def _encoded(value: Profile | Item | None) -> bytes:
    if value is None or (isinstance(value, Profile) and not value.known):
        return MISSING
    return msgspec.msgpack.encode(value)


def _decoded(entries: Mapping[str, bytes], decoder: msgspec.msgpack.Decoder[R]) -> dict[str, R | None]:
    """Return what entries say; one that another release wrote and this one cannot read says nothing."""
    said: dict[str, R | None] = {}
    for each, entry in entries.items():
        try:
            said[each] = decoder.decode(entry) if entry else None
        except msgspec.MsgspecError:
            continue
    return said
