"""The trainer killed at its durable writes: it ends bit-equal to an undisturbed run over the same plans."""

import random

import pytest
from harness import Children, until
from trainer_world import DEADLINE_S, World

CHUNK = 30
LIVES, CHUNKS = 8, 6


@pytest.fixture
def world(tmp_path, children: Children) -> World:
    return World(tmp_path, children)


def live(world: World, at: int, **how: bool) -> str:
    """Let a trainer work until its ``at``-th durable write kills it; return which end it came to."""
    child = world.start(at=at, **how)
    for _ in range(CHUNKS):
        world.send(CHUNK)
        until(lambda: not child.running or not world.left(), "plans for all that was sent", DEADLINE_S)
    world.plans()  # link the journals before another trainer deletes them
    if not child.running:
        return "killed" if child.ended() < 0 else "child killed"
    child.kill()
    return "outlived"


@pytest.mark.smoke
def test_killed_at_any_of_its_writes_a_trainer_ends_bit_equal_to_an_undisturbed_run(world, tmp_path):
    """A write may be the journal's, a checkpoint's, a snapshot's, the catalog's, the evidence's or a letter's."""
    chance = random.Random(3)
    world.begin().kill()
    world.plans()
    writes = [1, 2, 3, 5, 8] + [chance.randrange(10, 120) for _ in range(LIVES - 5)]
    ends = [
        live(world, at, after=bool(number % 2), whole=bool(number % 3)) for number, at in enumerate(writes)
    ]
    assert ends.count("killed") >= LIVES - 3, ends
    last = world.start()
    for _ in range(4):
        world.send(CHUNK)
        world.learned(last)
    world.check(tmp_path, last)
    assert world.letters(), "the stream holds events that no learner takes"
    assert world.evidence.totals("r", 0).paired["mrr"].n > 50
    assert len(world.catalog.entries()) >= 4
