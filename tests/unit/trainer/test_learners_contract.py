"""What every learner promises, whichever it is: replay, restore, growth, cutting, single events."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from sluice.encoder import RecentInteraction
from sluice.errors import InvalidModel
from sluice.model import AlgorithmType, Scalar
from sluice.snapshot import writer
from sluice.snapshot.unit import Unit
from sluice_trainer.learners import registry
from sluice_trainer.learners.protocol import Interactions, Learner, NonFiniteLoss, State

USERS, ITEMS, EVENTS = 30, 40, 600
PARAMETERS: Mapping[AlgorithmType, dict[str, Scalar]] = {
    AlgorithmType.POPULAR: {},
    AlgorithmType.CO_VISITATION: {"neighbours": 20},
    AlgorithmType.GMF: {"dimension": 8, "epochs": 3, "learnNegatives": 2},
}
Make = Callable[[], Learner]


@pytest.fixture(params=sorted(registry.REGISTRY), autouse=True)
def make(request: pytest.FixtureRequest) -> Make:
    torch.set_num_threads(1)
    kind = AlgorithmType(request.param)
    return lambda: registry.create(kind, PARAMETERS.get(kind, {}), 7)


def events(start: int, stop: int, users: int = USERS, items: int = ITEMS) -> Interactions:
    """Return part of one fixed stream: each user keeps to every fifth item."""
    draw = np.random.default_rng(3)
    who = draw.integers(0, users, EVENTS).astype(np.int32)
    what = ((draw.integers(0, items // 5, EVENTS) * 5 + who % 5) % items).astype(np.int32)
    recent = np.full((EVENTS, 50), -1, dtype=np.int32)
    for place in range(EVENTS):
        own = what[:place][who[:place] == who[place]][::-1][:50]
        recent[place, : len(own)] = own
    weights = np.ones(EVENTS, dtype=np.float32)
    columns = (
        who,
        what,
        weights,
        recent,
        (recent >= 0).astype(np.float32),
        np.arange(EVENTS, dtype=np.uint64),
    )
    return Interactions(*(column[start:stop] for column in columns))


def fitted(make: Make) -> Learner:
    learner = make()
    learner.fit(events(0, 300), USERS, ITEMS)
    return learner


def assert_equal(one: State, other: State) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert array.dtype == other[name].dtype
        assert array.tobytes() == other[name].tobytes(), name


def test_a_replay_of_the_same_batches_is_bit_equal(make: Make) -> None:
    first, second = fitted(make), fitted(make)
    for learner in (first, second):
        for start in range(300, EVENTS, 100):
            learner.learn(events(start, start + 100), USERS, ITEMS)
    assert_equal(first.state(), second.state())


def test_a_learner_restored_mid_stream_ends_bit_equal_to_the_undisturbed_one(make: Make) -> None:
    undisturbed = fitted(make)
    undisturbed.learn(events(300, 400), USERS, ITEMS)
    restored = make()
    restored.restore(undisturbed.state())
    for learner in (undisturbed, restored):
        learner.learn(events(400, 500), USERS + 3, ITEMS + 5)
        learner.learn(events(500, EVENTS), USERS + 3, ITEMS + 5)
    assert_equal(undisturbed.state(), restored.state())


def test_looking_at_state_and_content_changes_nothing(make: Make) -> None:
    watched, unwatched = fitted(make), fitted(make)
    watched.state()
    watched.content([str(row) for row in range(ITEMS)])
    for learner in (watched, unwatched):
        learner.learn(events(300, 400), USERS, ITEMS)
    assert_equal(watched.state(), unwatched.state())


def test_growth_keeps_what_is_known_of_old_items(make: Make) -> None:
    learner = fitted(make)
    before = learner.content([str(row) for row in range(ITEMS)])
    learner.learn(events(0, 0), USERS + 20, ITEMS + 20)
    after = learner.content([str(row) for row in range(ITEMS + 20)])
    for name, array in _arrays(before).items():
        np.testing.assert_array_equal(_arrays(after)[name][:ITEMS], array)


def test_content_is_not_touched_by_what_is_learned_later(make: Make) -> None:
    learner = fitted(make)
    content = learner.content([str(row) for row in range(ITEMS)])
    held = {name: array.copy() for name, array in _arrays(content).items()}
    learner.learn(events(300, EVENTS), USERS, ITEMS)
    for name, array in _arrays(content).items():
        np.testing.assert_array_equal(array, held[name])


def test_a_unit_written_and_opened_recommends(make: Make, tmp_path: Path) -> None:
    content = fitted(make).content([f"item-{row}" for row in range(ITEMS)])
    writer.write(tmp_path / "s-1", content, _provenance())
    unit = Unit.open(tmp_path / "s-1", with_index=False)
    recent = [RecentInteraction("item-3"), RecentInteraction("unheard-of"), RecentInteraction("item-8")]
    found = unit.recommend(recent, 5, ["item-3", "item-8"])
    assert len(found) == 5
    assert not {"item-3", "item-8"} & {identifier for identifier, _ in found}
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


def test_events_learned_one_by_one(make: Make) -> None:
    learner = fitted(make)
    for place in range(300, 310):
        stats = learner.learn(events(place, place + 1), USERS, ITEMS)
        assert stats.events == 1
    assert all(np.isfinite(array).all() for array in learner.state().values())


def test_one_pair_a_thousand_times_in_a_batch_stays_bounded(make: Make) -> None:
    learner = fitted(make)
    one = events(300, 301)
    batch = Interactions(*(np.repeat(column, 1000, axis=0) for column in one))
    learner.learn(batch, USERS, ITEMS)
    for array in learner.state().values():
        assert np.isfinite(array).all()
    matrix = _arrays(learner.content([str(row) for row in range(ITEMS)]))["matrix"]
    assert np.abs(matrix).max() < 5000


def test_a_learner_may_start_without_any_history(make: Make) -> None:
    learner = make()
    learner.fit(events(0, 0), 0, 0)
    learner.learn(events(0, 100), USERS, ITEMS)
    assert np.isfinite(_arrays(learner.content([str(row) for row in range(ITEMS)]))["matrix"]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_weights_that_are_no_numbers_are_refused_and_change_nothing(make: Make, bad: float) -> None:
    learner = fitted(make)
    before = learner.state()
    batch = events(300, 320)
    weights = batch.weights.copy()
    weights[7] = bad
    with pytest.raises(NonFiniteLoss, match=r"keys 300\.\.319"):
        learner.learn(batch._replace(weights=weights), USERS + 9, ITEMS + 9)
    assert_equal(before, learner.state())


def test_a_forgotten_user_leaves_nothing_in_the_state(make: Make) -> None:
    """Nothing by user, that is: a learner that knows what the forgotten one was like could not be told apart."""
    learner = fitted(make)
    learner.learn(events(300, EVENTS), USERS, ITEMS)
    other = make()
    other.restore(learner.state())
    one = events(300, 301)
    other.learn(one._replace(users=np.array([USERS], np.int32)), USERS + 1, ITEMS)
    learner.learn(one._replace(users=np.array([USERS], np.int32)), USERS + 1, ITEMS)
    other.learn(
        one._replace(users=np.array([USERS], np.int32), weights=np.zeros(1, np.float32)), USERS + 1, ITEMS
    )
    learner.forget(USERS)
    other.forget(USERS)
    by_user = {name for name, array in learner.state().items() if len(array) == USERS + 1}
    for name in by_user:
        np.testing.assert_array_equal(learner.state()[name], other.state()[name])
    learner.forget(USERS + 1000)


def test_an_unknown_parameter_is_named(make: Make) -> None:
    kind = {value: key for key, value in registry.REGISTRY.items()}
    for create, name in kind.items():
        with pytest.raises(InvalidModel, match="unheardOf"):
            registry.create(name, {"unheardOf": 1}, 0)
        assert create({}, 0)


def _arrays(content: writer.UnitContent) -> dict[str, np.ndarray]:
    part = content.parts["items"]
    if hasattr(part, "matrix"):
        return {"matrix": part.matrix}
    return {"matrix": part.similarities, "rows": part.rows}


def _provenance() -> dict[str, object]:
    return {
        "id": "s-1",
        "model": "default.home",
        "parent": None,
        "algorithm": "Test",
        "parameters": {},
        "spec_hash": "0",
        "seed": 7,
        "code_version": "test",
        "created": 0.0,
        "offsets": {},
        "interactions": 300,
        "metrics": {},
    }
