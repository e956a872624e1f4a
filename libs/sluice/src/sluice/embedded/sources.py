"""Profiles, items and popularity of one source on SQLite."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from sluice.embedded.database import Database
from sluice.events import Partition
from sluice.items import Gain
from sluice.profile import Applied, Described, Profile, described, fold
from sluice.records import Item

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS profiles (user_id TEXT PRIMARY KEY, document BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS items (item_id TEXT PRIMARY KEY, document BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS popularity (item_id TEXT PRIMARY KEY, count REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_count ON popularity (count DESC);
CREATE TABLE IF NOT EXISTS counted (topic TEXT, part INTEGER, offset INTEGER NOT NULL, PRIMARY KEY (topic, part));
"""
_PROFILE: Final = msgspec.msgpack.Decoder(Profile)
_ITEM: Final = msgspec.msgpack.Decoder(Item)


def source_database(path: Path) -> Database:
    """Return the database of one source, to be shared by the adapters below."""
    return Database(path, _SCHEMA)


class EmbeddedProfiles:
    """:class:`~sluice.profile.Profiles` on SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, user_id: str) -> Profile | None:
        """See :class:`~sluice.profile.Profiles`."""
        profile = self._stored(user_id)
        return profile if profile is not None and profile.known else None

    def _stored(self, user_id: str) -> Profile | None:
        row = self._database.read_one("SELECT document FROM profiles WHERE user_id = ?", (user_id,))
        return None if row is None else _PROFILE.decode(row[0])

    def apply(self, partition: Partition, events: Mapping[str, Sequence[Applied]]) -> Mapping[str, Profile]:
        """See :class:`~sluice.profile.Profiles`."""
        with self._database.writing():
            return self._put(
                [
                    fold(self._get_or_new(user_id), partition.number, applied)
                    for user_id, applied in events.items()
                ]
            )

    def describe(self, users: Mapping[str, Described]) -> Mapping[str, Profile]:
        """See :class:`~sluice.profile.Profiles`."""
        with self._database.writing():
            return self._put(
                [described(self._get_or_new(user_id), record) for user_id, record in users.items()]
            )

    def _get_or_new(self, user_id: str) -> Profile:
        return self._stored(user_id) or Profile(user_id=user_id)

    def _put(self, profiles: Sequence[Profile]) -> dict[str, Profile]:
        self._database.connection.executemany(
            "INSERT OR REPLACE INTO profiles VALUES (?, ?)",
            [(profile.user_id, msgspec.msgpack.encode(profile)) for profile in profiles],
        )
        return {profile.user_id: profile for profile in profiles}


class EmbeddedItems:
    """:class:`~sluice.items.Items` on SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, items: Sequence[Item]) -> None:
        """See :class:`~sluice.items.Items`."""
        rows = [(item.item_id, msgspec.msgpack.encode(item)) for item in items]
        with self._database.writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO items VALUES (?, ?)", rows)

    def delete(self, item_ids: Sequence[str]) -> None:
        """See :class:`~sluice.items.Items`."""
        with self._database.writing() as connection:
            connection.executemany("DELETE FROM items WHERE item_id = ?", [(each,) for each in item_ids])

    def get(self, item_ids: Sequence[str]) -> dict[str, Item]:
        """See :class:`~sluice.items.Items`."""
        marks = ", ".join("?" * len(item_ids))
        rows = self._database.read(
            f"SELECT item_id, document FROM items WHERE item_id IN ({marks})",  # noqa: S608 (only marks)
            tuple(item_ids),
        )
        return {item_id: _ITEM.decode(document) for item_id, document in rows}


class EmbeddedPopularity:
    """:class:`~sluice.items.Popularity` on SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def apply(self, partition: Partition, gains: Sequence[Gain]) -> None:
        """See :class:`~sluice.items.Popularity`."""
        with self._database.writing() as connection:
            counted = self._counted_to(partition)
            sums: defaultdict[str, float] = defaultdict(float)
            for offset, item_id, amount in gains:
                if offset >= counted:
                    sums[item_id] += amount
            if not sums:
                return
            connection.executemany(
                "INSERT INTO popularity VALUES (?, ?)"
                " ON CONFLICT (item_id) DO UPDATE SET count = count + excluded.count",
                list(sums.items()),
            )
            end = gains[-1].offset + 1
            connection.execute("INSERT OR REPLACE INTO counted VALUES (?, ?, ?)", (*partition, end))

    def _counted_to(self, partition: Partition) -> int:
        row = self._database.read_one("SELECT offset FROM counted WHERE topic = ? AND part = ?", partition)
        return 0 if row is None else int(row[0])

    def top(self, n: int) -> list[tuple[str, float]]:
        """See :class:`~sluice.items.Popularity`."""
        rows = self._database.read(
            "SELECT item_id, count FROM popularity ORDER BY count DESC, item_id LIMIT ?", (n,)
        )
        return list(rows)

    def of(self, item_ids: Collection[str]) -> dict[str, float]:
        """See :class:`~sluice.items.Popularity`."""
        return dict(
            self._database.read(
                "SELECT item_id, count FROM popularity WHERE item_id IN (SELECT value FROM json_each(?))",
                (msgspec.json.encode(list(item_ids)).decode(),),
            )
        )
