"""Conditions: what they say in each state, and since when."""

import msgspec

from sluice_operator.conditions import Condition, Problem, conditions, read
from sluice_operator.rollout.state import Phase, RolloutState

SERVING = RolloutState(epoch=3, phase=Phase.STABLE, stable="gmf-1", message="gmf-1 serves everyone")


def told(state=SERVING, problem=None, before=(), now="2026-01-02T03:04:05Z", generation=4):
    return {each.type: each for each in conditions(state, problem, generation, before, now)}


def test_a_stable_snapshot_makes_a_model_ready():
    found = told()
    assert (found["Ready"].status, found["Ready"].reason) == ("True", "Serving")
    assert (found["Progressing"].status, found["Progressing"].reason) == ("False", "Stable")
    assert all(each.observed_generation == 4 for each in found.values())


def test_without_a_stable_snapshot_it_is_not_and_says_why():
    state = RolloutState(message="no snapshot was cut yet")
    assert (told(state)["Ready"].status, told(state)["Ready"].message) == ("False", "no snapshot was cut yet")


def test_a_problem_of_the_spec_is_told_first():
    ready = told(problem=Problem("InvalidSpec", "home: spec.a is wrong"))["Ready"]
    assert (ready.status, ready.reason, ready.message) == ("False", "InvalidSpec", "home: spec.a is wrong")


def test_a_candidate_on_its_way_is_progress():
    state = RolloutState(phase=Phase.PROMOTING, stable="a", candidate="b")
    assert (told(state)["Progressing"].status, told(state)["Progressing"].reason) == ("True", "Promoting")


def test_the_time_is_that_of_the_last_change_of_the_status():
    before = list(told(now="2026-01-01T00:00:00Z").values())
    other = msgspec.structs.replace(SERVING, stable="gmf-2")
    assert told(other, before=before)["Ready"].last_transition_time == "2026-01-01T00:00:00Z"
    assert (
        told(problem=Problem("Odd", "x"), before=before)["Ready"].last_transition_time
        == "2026-01-02T03:04:05Z"
    )


def test_a_long_message_is_cut():
    assert len(told(problem=Problem("Odd", "x" * 9_000))["Ready"].message) <= 2_000


def test_what_somebody_wrote_that_is_no_condition_is_passed_over():
    assert read(None) == read([1]) == read({"type": "Ready"}) == []
    written = msgspec.to_builtins(list(told().values()))
    assert all(isinstance(each, Condition) for each in read(written))
    assert len(read(written)) == 2
