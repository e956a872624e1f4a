"""A trainer whose disk is full: nothing is lost, and all goes on by itself once there is room.

Journal and checkpoints lie on one small disk, the snapshots on another, so that each can be filled alone.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Child, Children, until
from trainer_world import DEADLINE_S, World

from sluice_trainer import checkpoint

CHUNK, MEGABYTE = 30, 1 << 20
SmallDisk = Callable[[int], Path]


class Disk:
    """A small disk to be filled and emptied again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._filler = folder, folder / "filler"

    def fill(self, leave: int = 0) -> None:
        """Take all room but ``leave`` bytes; others may take or give some meanwhile, so look again."""
        until(lambda: self._filled(leave), f"{leave} bytes left", DEADLINE_S)

    def _filled(self, leave: int) -> bool:
        room = os.statvfs(self.folder)
        excess = room.f_bavail * room.f_frsize - leave
        with self._filler.open("ab", buffering=0) as stream:
            if excess < 0:
                stream.truncate(max(0, stream.tell() + excess))
            elif excess > 0:
                with contextlib.suppress(OSError):  # full already: somebody else was faster
                    stream.write(bytes(excess))
        return excess == 0

    def empty(self) -> None:
        self._filler.unlink()


@pytest.fixture
def state(tmp_path, small_disk: SmallDisk) -> Disk:
    return Disk(small_disk(8 * MEGABYTE))


@pytest.fixture
def store(tmp_path, small_disk: SmallDisk) -> Disk:
    return Disk(small_disk(8 * MEGABYTE))


@pytest.fixture
def world(tmp_path, children: Children, state: Disk, store: Disk) -> World:
    home = tmp_path / "home"
    home.mkdir()
    for name, disk in (("trainer", state), ("snapshots", store)):
        place = disk.folder / name
        place.mkdir()
        (home / name).symlink_to(place)
    return World(tmp_path, children, cut_events=120)


def checkpoints(world: World) -> set[str]:
    return {path.name for path in world.folder.glob("checkpoint-*")}


def says(child: Child, words: str, times: int = 1) -> None:
    until(lambda: child.says().count(words) >= times, f'"{words}" in the log', DEADLINE_S)


def test_a_full_disk_delays_journal_checkpoints_and_snapshots_and_loses_nothing(
    world, state, store, tmp_path
):
    """One disk after the other, in one trainer's life."""
    child = world.begin()
    until(lambda: checkpoint.oldest_sequence(world.folder) > 0, "first checkpoint", DEADLINE_S)

    store.fill()
    before = len(world.catalog.entries())
    for _ in range(5):
        world.send(CHUNK)
        world.learned(child)  # it learns on without a snapshot
    says(child, "free the store")
    assert len(world.catalog.entries()) == before
    store.empty()
    until(lambda: len(world.catalog.entries()) > before, "snapshot once there is room", DEADLINE_S)
    world.check_store()

    known = checkpoints(world)
    state.fill(leave=40_960)  # room for plans, not for a checkpoint
    world.send(CHUNK)
    world.learned(child)
    says(child, "free the disk")
    world.send(CHUNK)
    world.learned(child)

    state.fill()
    while "journal-" not in child.says():  # until the last page of the journal is full
        world.send(CHUNK)
        until(lambda: not world.left() or "journal-" in child.says(), "plan or refusal", DEADLINE_S)
    state.empty()
    world.learned(child)
    until(lambda: checkpoints(world) - known, "checkpoint once there is room", DEADLINE_S)
    world.check(tmp_path, child)


def test_ended_on_a_full_disk_a_trainer_ends_cleanly_and_goes_on_from_its_journal(world, state, tmp_path):
    child = world.begin()
    until(lambda: checkpoint.oldest_sequence(world.folder) > 0, "first checkpoint", DEADLINE_S)
    state.fill(leave=8_192)
    world.send(CHUNK)
    world.learned(child)
    world.plans()
    assert child.stop(DEADLINE_S) == 0, child.says()[-3000:]
    assert "without a checkpoint" in child.says()
    state.empty()
    again = world.start()
    world.send(CHUNK)
    world.learned(again)
    world.check(tmp_path, again)
