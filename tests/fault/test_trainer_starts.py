"""A trainer started while a storage is away: it waits, says so, can be asked to stop, and begins by itself."""

import pytest
from harness import Child, Children, until
from trainer_world import DEADLINE_S, WARMUP, World


@pytest.fixture
def world(tmp_path, children: Children) -> World:
    return World(tmp_path, children)


def waiting(world: World) -> Child:
    child = world.start()
    until(lambda: not child.running or "storage unavailable, waiting" in child.says(), "outage", DEADLINE_S)
    assert child.running, child.says()[-3000:]
    return child


def test_started_while_its_catalog_is_away_a_trainer_waits_and_ends_or_begins_when_it_may(world, tmp_path):
    catalog = world.home.folder / f"model-{world.model.key}.db"
    catalog.mkdir()  # a folder, which no database can be opened as
    child = waiting(world)
    assert child.stop(DEADLINE_S) == 0, child.says()[-3000:]
    assert "Traceback" not in child.says()

    child = waiting(world)
    catalog.rmdir()
    world.send(2 * WARMUP)
    world.learned(child)
    until(world.catalog.entries, "snapshot", DEADLINE_S)
    assert "storage available again" in child.says()
    assert child.stop(DEADLINE_S) == 0, child.says()[-3000:]
