"""What the catalog on MongoDB asks for; the collection is a stand-in."""

from typing import Any

import msgspec

from sluice.catalog import CatalogEntry
from sluice.mongo.models import MongoCatalog

ENTRY = CatalogEntry(
    id="s1",
    uri="file:///s1",
    digest="d",
    parent=None,
    algorithm="GMF",
    spec_hash="h",
    epoch=3,
    created=1.0,
    interactions=1,
    bytes=1,
    metrics={},
)


class Collection:
    """Holds the catalog of one model, and returns of it what is asked for."""

    def __init__(self) -> None:
        self.returned: list[set[str]] = []
        self._document = {"version": 1, "epoch": 3, "entries": [msgspec.to_builtins(ENTRY)]}

    def run(self, _name: str, work: Any) -> Any:
        return work(self)

    def find_one(self, _which: object, fields: dict[str, int] | None = None) -> dict[str, Any]:
        found = {name: value for name, value in self._document.items() if not fields or name in fields}
        self.returned.append(set(found))
        return found


def test_a_look_at_the_epoch_leaves_the_entries_where_they_are():
    collection = Collection()
    catalog = MongoCatalog(collection, "default.home")  # type: ignore[arg-type]
    assert catalog.epoch() == 3
    assert collection.returned == [{"epoch"}]
    assert catalog.entries() == [ENTRY]
