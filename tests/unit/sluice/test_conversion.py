"""Every type error of a document is named, where it was, and nothing else is."""

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.conversion import problems
from sluice.model import RecommenderModel

SOUND = {
    "apiVersion": "sluice.dev/v1alpha1",
    "kind": "RecommenderModel",
    "metadata": {"name": "m"},
    "spec": {
        "algorithm": {"type": "GMF", "parameters": {"dimension": 64}},
        "rollout": {
            "steps": [{"shadow": {"events": 5}}, {"setWeight": 5}, {"setWeight": 50}],
            "gates": [{"name": "g", "source": "Online", "metric": "errorRate", "max": "0.01"}],
        },
    },
}


def changed(*changes: tuple[str, Any]) -> dict[str, Any]:
    """Return the sound document with the values at some paths replaced; DROP removes one."""
    document: Any = copy.deepcopy(SOUND)
    for path, value in changes:
        node = document
        *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
        for part in parents:
            node = node[part]
        node[last] = value
    return document


def test_a_sound_document_has_no_problem() -> None:
    assert problems(SOUND, RecommenderModel) == []


def test_every_error_is_named_where_it_was() -> None:
    document = changed(
        ("spec/algorithm/type", "Gmf"),
        ("spec/rollout/steps/0/shadow", {"events": 0}),
        ("spec/rollout/steps/2/setWeight", 101),
        ("spec/rollout/gates/0/max", 0.01),
        ("spec/rollout/gates/0/minSample", 5),
        ("spec/pinned", True),
    )
    found = problems(document, RecommenderModel)
    places = [problem.rpartition("at `")[2].rstrip("`") for problem in found]
    assert sorted(places) == [
        "spec",
        "spec.algorithm.type",
        "spec.rollout.gates[0]",
        "spec.rollout.gates[0].max",
        "spec.rollout.steps[0].shadow.events",
        "spec.rollout.steps[2].setWeight",
    ]
    assert document["spec"]["rollout"]["steps"][2] == {"setWeight": 101}, "the document is left as it is"


@pytest.mark.parametrize("document", [None, [], "text", {}, {"spec": 5}, {"spec": {"rollout": []}}])
def test_a_document_that_is_wrong_as_a_whole_has_one_or_more_problems(document: Any) -> None:
    assert problems(document, RecommenderModel)


def test_a_dictionary_whose_wrong_key_is_not_named_is_told_as_a_whole() -> None:
    found = problems(changed(("spec/algorithm/parameters", {"a": [], "b": {}})), RecommenderModel)
    assert len(found) == 1
    assert "spec.algorithm.parameters" in found[0]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 200) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PATHS = (
    "apiVersion", "metadata", "metadata/name", "spec", "spec/algorithm", "spec/algorithm/type", "spec/rollout",
    "spec/rollout/steps", "spec/rollout/steps/1", "spec/rollout/gates/0", "spec/rollout/gates/0/name",
)  # fmt: skip


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from(PATHS), ANYTHING)
def test_problems_are_found_exactly_where_msgspec_finds_one(path: str, value: Any) -> None:
    document = changed((path, value))
    try:
        msgspec.convert(document, RecommenderModel)
        sound = True
    except msgspec.ValidationError:
        sound = False
    assert (problems(document, RecommenderModel) == []) == sound
