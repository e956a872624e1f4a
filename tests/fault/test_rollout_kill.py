"""The controller killed at each of its durable writes: it resumes at the same step and tells everything once."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from dying import between
from harness import Children, until
from rollout_world import RolloutWorld

WRITES = 13
"""In one pass that decides something: state, evidence, routing, the fleet's epoch and files (two each), releases,
each note."""


@pytest.fixture
def world(tmp_path: Path, children: Children) -> Iterator[RolloutWorld]:
    made = RolloutWorld(tmp_path, children)
    made.start()
    yield made
    made.stop()


def test_killed_at_each_durable_write_it_resumes_and_tells_everything_once(world: RolloutWorld) -> None:
    world.cut("s1")
    first = world.controller()
    world.wait_for_stable("s1")
    first.stop()
    world.cut("s2")
    for at, after in between(WRITES):
        killed = world.controller(at=at, after=after)
        assert killed.ended() == -signal.SIGKILL, f"it did not come to write {at}"
    last = world.controller()
    world.wait_for_stable("s2")
    until(world.has_told, "the last controller has told what the others had not")
    last.stop()
    world.check()
    rolled = [each.note for each in world.rollout.notes() if "s2" in each.note.message or each.note.epoch > 2]
    reasons = [note.reason for note in rolled]
    assert reasons.count("RolloutStarted") == reasons.count("Promoted") == reasons.count("Promoting") == 1
    assert reasons.count("WeightSet") == 2
    assert reasons.count("StepDone") == 6
    weights = [each.weight for each in world.published if each.candidate == "s2"]
    assert weights == sorted(weights), "a weight was taken back although nothing was wrong"
