"""Two trainers of one model by mistake: a rolling update, or one that was paused and wakes up.

The newer one goes on, the older one says who replaced it, leaves with exit code 3 and changes nothing more. They
share a folder, as two nodes share a volume on which ``flock`` does not hold (here the lock's file is replaced), or
each has its own, as two pods with local disks.
"""

import contextlib
import json
import signal
import sqlite3

import pytest
from harness import Child, Children, until
from trainer_world import DEADLINE_S, World

REPLACED = 3
CHUNK = 40


@pytest.fixture
def world(tmp_path, children: Children) -> World:
    return World(tmp_path, children, cut_events=100)


def elsewhere(world: World) -> None:
    """Let the next trainer start as on another node: it shares the folder, not the lock."""
    (world.place / "lock").unlink(missing_ok=True)


def pause(world: World, child: Child) -> None:
    """Stop it wherever it is, but not within a transaction of SQLite, which would stop everybody."""
    until(lambda: _paused(world, child), "pause outside of a transaction", DEADLINE_S)


def _paused(world: World, child: Child) -> bool:
    child.process.send_signal(signal.SIGSTOP)
    try:
        for path in world.home.folder.glob("*.db"):
            with contextlib.closing(sqlite3.connect(path, timeout=0.2, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        wake(child)
        return False
    return True


def wake(child: Child) -> None:
    child.process.send_signal(signal.SIGCONT)


def replaced(child: Child, by: int) -> None:
    """It must leave with its exit code, having said once who replaced it."""
    assert child.ended(DEADLINE_S) == REPLACED, child.says()[-3000:]
    lines = [line for line in child.says().splitlines() if "this trainer was replaced, stopping" in line]
    assert [json.loads(line)["replaced_by"] for line in lines] == [by], child.says()[-3000:]


def check_catalog(world: World, of: int, after: set[str]) -> None:
    """Every snapshot that came after ``after`` is of the newest trainer, ``of``."""
    late = [entry for entry in world.catalog.entries() if entry.id not in after]
    assert late, "the newer one cut snapshots"
    assert {entry.epoch for entry in late} == {of}


@pytest.mark.smoke
def test_a_trainer_that_wakes_up_after_it_was_replaced_in_its_folder_changes_nothing_and_leaves(
    world, tmp_path
):
    older = world.begin()
    world.send(CHUNK)
    world.learned(older)
    pause(world, older)
    world.send(CHUNK)
    before = {entry.id for entry in world.catalog.entries()}
    elsewhere(world)
    newer = world.start()
    until(lambda: world.catalog.epoch() == 2, "the newer one's claim", DEADLINE_S)
    world.learned(newer)
    wake(older)
    for _ in range(4):
        world.send(CHUNK)
        world.learned(newer)
    replaced(older, by=2)
    check_catalog(world, 2, before)
    assert world.evidence.totals("r", 0).paired["mrr"].n > 0
    world.check(tmp_path, newer)


def test_a_trainer_at_work_leaves_when_another_starts_in_its_folder(world, tmp_path):
    """As in a rolling update: both are busy at the moment of the claim."""
    running = world.begin()
    for claim in (2, 3):
        elsewhere(world)
        world.send(3 * CHUNK)
        late = world.start()
        until(lambda claim=claim: world.catalog.epoch() == claim, "claim", DEADLINE_S)
        before = {entry.id for entry in world.catalog.entries()}
        world.send(3 * CHUNK)
        replaced(running, by=claim)
        world.learned(late)
        world.send(3 * CHUNK)
        world.learned(late)
        until(
            lambda before=before: {each.id for each in world.catalog.entries()} - before,
            "snapshot",
            DEADLINE_S,
        )
        check_catalog(world, claim, before)
        running = late
    world.check(tmp_path, running)


def test_a_trainer_with_a_folder_of_its_own_leaves_too_and_events_count_once(world, tmp_path):
    older = world.begin()
    world.send(CHUNK)
    until(lambda: "mrr" in world.evidence.totals("r", 0).paired, "evidence", DEADLINE_S)
    pause(world, older)
    left = {entry.id for entry in world.catalog.entries()}
    counted = world.evidence.totals("r", 0).paired["mrr"]
    assert counted.n > 0
    world.move()
    newer = world.start()
    until(lambda: world.plans(), "the newer one's first plan", DEADLINE_S)
    world.send(CHUNK)  # the older one wakes up to something to learn
    wake(older)
    replaced(older, by=2)
    for _ in range(3):
        world.send(CHUNK)
        world.learned(newer)
    check_catalog(world, 2, left)
    world.check(tmp_path, newer, left=left, counted=counted)
    assert world.evidence.totals("r", 0).paired["mrr"].n > counted.n
