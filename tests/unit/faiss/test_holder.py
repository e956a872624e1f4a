"""The holder over real snapshots, with a wanted list and a clock that the test turns."""

import gc
import weakref

import pytest

from sluice.overlay import OverlayState
from sluice_faiss.cache import Cache
from sluice_faiss.holder import Holder
from sluice_faiss.live import Live
from sluice_faiss.memory import Memory
from sluice_faiss.wanted import Wanted


class CatalogOf(dict):
    """A catalog that holds these entries."""


class World:
    def __init__(self, tmp_path, bound=0):
        self.wanted, self.now, self.told = Wanted(), 0.0, []
        self.catalog = CatalogOf()
        self.cache = Cache(tmp_path / "cache", None, Memory(bound))
        self.holder = Holder(
            lambda: self.wanted,
            self.catalog,
            self.cache,
            self.told.append,
            Live().bind,
            OverlayState,
            clock=lambda: self.now,
        )

    def want(self, *snapshots):
        self.wanted = Wanted(snapshots)
        self.holder.look()
        return sorted(self.holder.units)


@pytest.fixture
def world(tmp_path, cut):
    world = World(tmp_path)
    for snapshot in ("s1", "s2"):
        world.catalog[snapshot] = cut(snapshot)
    return world


def test_what_is_wanted_serves_and_what_is_not_leaves(world, tmp_path):
    assert world.want("s1") == ["s1"]
    assert world.want("s1", "s2") == ["s1", "s2"]
    assert world.want("s2") == ["s2"]
    assert not (tmp_path / "cache" / "s1").exists()
    assert world.want() == []


def test_a_snapshot_without_catalog_entry_is_refused(world):
    del world.catalog["s2"]
    assert world.want("s1", "s2") == ["s1"]
    assert "no catalog entry" in world.told[-1].refused[0].reason


def test_a_damaged_snapshot_is_refused_while_the_last_good_one_serves_and_heals(world, flip, tmp_path):
    world.want("s1")
    matrix = tmp_path / "store" / "s2" / "items.matrix.npy"
    flip(matrix)
    assert world.want("s2") == ["s1"]
    assert world.told[-1].refused[0].id == "s2"
    flip(matrix)
    assert world.want("s2") == ["s1"], "not tried again before its time"
    world.now = 0.5
    assert world.want("s2") == ["s2"]
    assert world.told[-1].refused == ()


def test_a_request_keeps_its_unit_until_it_has_ended(world):
    world.want("s1")
    taken = world.holder.units["s1"].unit
    watched = weakref.ref(taken)
    world.want()
    assert taken.recommend([], 1, [])[0][0] == "c"
    del taken
    gc.collect()
    assert watched() is None


def test_the_state_is_told_only_when_it_changes(world):
    world.want("s1")
    told = len(world.told)
    world.want("s1")
    assert len(world.told) == told


def test_words_that_are_no_ids_are_shown_as_refused(world):
    world.wanted = Wanted((), ("../etc",))
    world.holder.look()
    assert world.told[-1].refused[0].id == "../etc"


def test_what_does_not_fit_is_refused_until_something_else_has_left(tmp_path, cut):
    entries = {snapshot: cut(snapshot) for snapshot in ("s1", "s2", "s3")}
    world = World(tmp_path, bound=2 * entries["s1"].bytes)
    world.catalog.update(entries)
    assert world.want("s1", "s2", "s3") == ["s1", "s2"]
    [refused] = world.told[-1].refused
    assert (refused.id, f"{entries['s3'].bytes} bytes are missing" in refused.reason) == ("s3", True)
    world.now += 0.1
    assert world.want("s2", "s3") == ["s2"], "s1 leaves in this round"
    assert world.want("s2", "s3") == ["s2", "s3"], "and s3 does not wait for its next try"
    assert world.told[-1].refused == ()


def test_a_snapshot_that_another_worker_has_just_copied_is_not_pruned(world, tmp_path):
    world.want("s1", "s2")
    later = [Wanted(("s2",)), Wanted(("s2", "s3"))]
    world.holder._wanted = lambda: later.pop(0) if len(later) > 1 else later[0]
    (tmp_path / "cache" / "s3").mkdir()
    world.holder.look()
    assert (tmp_path / "cache" / "s3").is_dir()
    assert not (tmp_path / "cache" / "s1").exists()
