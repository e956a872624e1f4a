"""Two controllers of one model, one of them stopped and woken at random: an old decision never acts."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Children, until
from rollout_world import RolloutWorld

from sluice_operator.rollout import Command, Phase, Verb

SLEEPS = 3
"""So many times the other one must have decided something meanwhile."""

MOST_TURNS = 20


@pytest.fixture
def world(tmp_path: Path, children: Children) -> Iterator[RolloutWorld]:
    made = RolloutWorld(tmp_path, children)
    made.start()
    yield made
    made.stop()


def test_a_controller_that_wakes_from_a_pause_changes_nothing(world: RolloutWorld) -> None:
    world.cut("s1")
    controllers = [world.controller() for _ in range(2)]
    world.wait_for_stable("s1")
    world.cut("s2")
    world.wait_for_stable("s2")
    chance, slept = random.Random(5), 0
    for turn in range(MOST_TURNS):
        if slept == SLEEPS:
            break
        sleeper = controllers[turn % 2]
        time.sleep(chance.uniform(0, 0.03))  # it is stopped somewhere in its pass
        os.kill(sleeper.pid, signal.SIGSTOP)
        slept += _decided_within(world, f"back{turn}", 0.7)
        os.kill(sleeper.pid, signal.SIGCONT)
        until(lambda: world.state().phase == Phase.HELD, "the rollback is done")
        world.rollout.ask(Command(id=f"on{turn}", verb=Verb.RESUME))
        until(lambda: world.state().phase == Phase.STABLE, "the hold has ended")
    for controller in controllers:
        controller.stop()
    assert slept == SLEEPS
    world.check()
    final = world.routing.read()
    assert final is not None
    assert (final.stable, final.weight) == (world.state().stable, 0)


def _decided_within(world: RolloutWorld, name: str, seconds: float) -> bool:
    """Ask for a rollback and return whether it is done soon: not if the sleeper sleeps with the database locked."""
    target = "s1" if world.state().stable == "s2" else "s2"
    world.rollout.ask(Command(id=name, verb=Verb.ROLLBACK, snapshot=target))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if world.state().phase == Phase.HELD:
            return True
        time.sleep(0.01)
    return False
