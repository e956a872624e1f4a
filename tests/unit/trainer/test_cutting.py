"""What a trainer deletes from the store: what nobody entered and what was released, unless it was replaced."""

import pytest

from sluice.catalog import CatalogEntry
from sluice.embedded.models import EmbeddedCatalog, model_database
from sluice.errors import StaleEpoch
from sluice.snapshot.folder import FolderStore
from sluice_trainer.checkpoint import Position
from sluice_trainer.cutting import Cutter

LATER = Position(spec_hash="h", interactions=1_000)


class Store(FolderStore):
    """A folder where something happens meanwhile: ``meanwhile`` by the name of the call it follows."""

    def __init__(self, folder) -> None:
        super().__init__(folder)
        self.meanwhile = {}

    def ids(self):
        found = super().ids()
        self.meanwhile.get("ids", int)()
        return found

    def delete(self, snapshot):
        super().delete(snapshot)
        self.meanwhile.get("delete", int)()


@pytest.fixture
def catalog(tmp_path):
    return EmbeddedCatalog(model_database(tmp_path / "model.db"))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def cutter(store, catalog, tmp_path):
    cutter = Cutter(store, catalog, catalog.claim())
    for name in ("kept", "left-1", "left-2"):
        (tmp_path / "store" / name).mkdir(parents=True)
    catalog.commit(entry("kept"))
    return cutter


def entry(name: str, epoch: int = 1) -> CatalogEntry:
    return CatalogEntry(
        id=name,
        uri=f"file:///{name}",
        digest=name,
        parent=None,
        algorithm="Popular",
        spec_hash="h",
        epoch=epoch,
        created=0.0,
        interactions=1,
        bytes=1,
        metrics={},
    )


def test_what_was_never_entered_goes_at_the_first_sweep_before_there_is_any_checkpoint(cutter, store):
    assert store.ids() == {"kept", "left-1", "left-2"}
    cutter.sweep(None, set())
    assert store.ids() == {"kept"}


def test_beside_an_empty_catalog_nothing_is_deleted(cutter, store, catalog):
    catalog.release({"kept"}, 1)
    catalog.remove("kept")
    cutter.sweep(LATER, set())
    assert store.ids() == {"kept", "left-1", "left-2"}


def test_what_is_entered_while_garbage_is_looked_for_stays(cutter, store, catalog):
    store.meanwhile["ids"] = lambda: catalog.commit(entry("left-1"))
    cutter.sweep(None, set())
    assert store.ids() == {"kept", "left-1"}


def test_replaced_while_it_looks_for_garbage_a_trainer_deletes_none(cutter, store, catalog):
    store.meanwhile["ids"] = catalog.claim
    with pytest.raises(StaleEpoch):
        cutter.sweep(None, set())
    assert store.ids() == {"kept", "left-1", "left-2"}


def test_replaced_between_two_deletions_a_trainer_does_not_begin_the_second(cutter, store, catalog):
    store.meanwhile["delete"] = catalog.claim
    with pytest.raises(StaleEpoch):
        cutter.sweep(None, set())
    assert store.ids() == {"kept", "left-2"}


def test_a_replaced_trainer_deletes_nothing_that_was_released(cutter, store, catalog):
    cutter.sweep(LATER, set())
    catalog.release({"kept"}, 1)
    catalog.claim()
    with pytest.raises(StaleEpoch):
        cutter.sweep(LATER, set())
    assert store.ids() == {"kept"}
    assert [each.id for each in catalog.entries()] == ["kept"]
