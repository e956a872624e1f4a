"""Passes: at once after an event, again every interval, one model's failure no other's."""

import itertools
import threading
import time

import pytest
import structlog

from sluice.errors import Conflict
from sluice_operator.passes import GAP_S, Ended, Passes

DEADLINE_S = 10.0
CHANGES = itertools.count()


class Model:
    """Counts its passes and does in each what it is told."""

    def __init__(self):
        self.passes, self.outcomes, self.passed = 0, [], threading.Condition()

    def __call__(self, now):
        assert now == pytest.approx(time.time(), abs=60)
        with self.passed:
            self.passes += 1
            self.passed.notify_all()
            outcome = self.outcomes.pop(0) if self.outcomes else None
        if outcome is not None:
            raise outcome

    def reached(self, passes):
        with self.passed:
            return self.passed.wait_for(lambda: self.passes >= passes, DEADLINE_S)


def look(passes, name):
    """Let it be seen that a model changed."""
    passes.look(name, next(CHANGES))


def until(true):
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def running():
    return {each.name for each in threading.enumerate() if each.name.startswith("model-")}


@pytest.fixture
def models():
    return {"one": Model(), "other": Model()}


def started(models, interval_s):
    return Passes(lambda name: models[name], interval_s)


def test_an_event_brings_a_pass_at_once(models):
    passes = started(models, interval_s=600.0)
    look(passes, "one")
    assert models["one"].reached(1)
    look(passes, "one")
    assert models["one"].reached(2)
    passes.stop()


def test_what_is_seen_again_without_a_change_brings_no_pass(models):
    passes = started(models, interval_s=600.0)
    for name in ("one", "one", "one", "other"):
        passes.look(name, "same")
    assert models["other"].reached(1)
    passes.look("one", "changed")
    assert models["one"].reached(2)
    passes.stop()
    assert models["one"].passes == 2


def test_changes_that_follow_each_other_bring_passes_with_a_gap_between(models):
    at = []
    passes = Passes(lambda name: lambda now: (at.append(time.monotonic()), models[name](now)), 600.0)
    for count in (1, 2, 3):
        look(passes, "one")
        assert models["one"].reached(count)
    passes.stop()
    assert min(after - before for before, after in itertools.pairwise(at)) >= GAP_S


def test_without_events_passes_come_every_interval(models):
    passes = started(models, interval_s=0.01)
    look(passes, "one")
    assert models["one"].reached(5)
    passes.stop()
    seen = models["one"].passes
    look(passes, "one")
    assert models["one"].passes == seen


@pytest.mark.parametrize("error", [Conflict("meanwhile"), RuntimeError("a defect")])
def test_a_failed_pass_costs_only_time(models, error):
    models["one"].outcomes = [error] * 3
    passes = started(models, interval_s=0.01)
    look(passes, "one")
    look(passes, "other")
    assert models["one"].reached(5)
    assert models["other"].reached(2)
    passes.stop()


def test_the_same_failure_is_told_once_and_so_is_its_end(models):
    models["one"].outcomes = [Conflict("meanwhile")] * 4
    with structlog.testing.capture_logs() as told:
        passes = started(models, interval_s=0.01)
        look(passes, "one")
        assert models["one"].reached(7)
        passes.stop()
    assert [each["event"] for each in told] == ["pass thrown away", "passes succeed again"]


def test_a_model_that_hangs_does_not_stop_another(models):
    free = threading.Event()
    models["one"] = lambda now: free.wait(DEADLINE_S)
    passes = started(models, interval_s=0.01)
    look(passes, "one")
    look(passes, "other")
    assert models["other"].reached(5)
    free.set()
    passes.stop()


def test_a_pass_that_does_not_end_is_told(models, monkeypatch):
    monkeypatch.setattr("sluice_operator.passes.STUCK_S", 0.05)
    begun, free = threading.Event(), threading.Event()
    models["one"] = lambda now: (begun.set(), free.wait(DEADLINE_S))
    passes = started(models, interval_s=600.0)
    assert passes.stuck() is None
    look(passes, "one")
    look(passes, "other")
    assert begun.wait(DEADLINE_S)
    until(lambda: passes.stuck() == "passes do not end: one")
    free.set()
    until(lambda: passes.stuck() is None)
    passes.stop()


def test_what_cannot_be_begun_is_tried_again(models):
    tries = []

    def begin(name):
        tries.append(name)
        if len(tries) < 3:
            raise OSError("not yet")
        return models[name]

    passes = Passes(begin, 0.01)
    look(passes, "one")
    assert models["one"].reached(1)
    passes.stop()
    assert tries == ["one"] * 3


def test_a_model_that_is_gone_is_forgotten_and_can_come_again(models):
    models["one"].outcomes = [Ended()]
    passes = started(models, interval_s=0.01)
    look(passes, "one")
    until(lambda: models["one"].passes == 1 and running() == set())
    look(passes, "one")
    assert models["one"].reached(3)
    passes.stop()


def test_a_model_that_is_seen_while_it_ends_is_begun_anew():
    begun, passes = [], None

    def begin(name):
        begun.append(name)

        def one_pass(now):
            if len(begun) == 1:
                look(passes, name)  # applied again while the pass finds the old one gone
                raise Ended

        return one_pass

    passes = Passes(begin, 600.0)
    look(passes, "one")
    until(lambda: len(begun) == 2)
    assert running() == {"model-one"}
    passes.stop()
