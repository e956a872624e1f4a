"""CoVisitation against brute force, its bounds, and that merging pairs is invisible."""

import numpy as np
import pytest

from sluice_trainer.learners import covisitation
from sluice_trainer.learners.covisitation import CoVisitation, CoVisitationParameters, PairTable
from sluice_trainer.learners.protocol import Interactions

USERS, ITEMS = 12, 25


def stream(events: int, weights: bool = False) -> Interactions:
    draw = np.random.default_rng(11)
    users = draw.integers(0, USERS, events).astype(np.int32)
    items = draw.integers(0, ITEMS, events).astype(np.int32)
    gains = (draw.integers(1, 4, events) if weights else np.ones(events)).astype(np.float32)
    recent = np.full((events, 50), -1, dtype=np.int32)
    recent_weights = np.zeros((events, 50), dtype=np.float32)
    for place in range(events):
        own = np.flatnonzero(users[:place] == users[place])[::-1][:50]
        recent[place, : len(own)], recent_weights[place, : len(own)] = items[own], gains[own]
    return Interactions(users, items, gains, recent, recent_weights, np.arange(events, dtype=np.uint64))


def brute_force(batch: Interactions, decay: float, smoothing: float) -> np.ndarray:
    """Return the similarities ``(ITEMS, ITEMS)`` by the formula, one pair at a time."""
    pairs, counts = np.zeros((ITEMS, ITEMS)), np.zeros(ITEMS)
    for item, weight, recent, others in zip(
        batch.items, batch.weights, batch.recent, batch.recent_weights, strict=True
    ):
        counts[item] += weight**2
        for age, (other, gain) in enumerate(zip(recent, others, strict=True)):
            if other >= 0 and other != item:
                pairs[item, other] += weight * gain * decay**age
                pairs[other, item] += weight * gain * decay**age
    norms = np.sqrt(counts + smoothing)
    return pairs / np.outer(norms, norms)


def dense(learner: CoVisitation) -> np.ndarray:
    part = learner.content([str(row) for row in range(ITEMS)]).parts["items"]
    similarities = np.zeros((ITEMS, ITEMS))
    for row in range(ITEMS):
        known = part.rows[row] >= 0
        similarities[row, part.rows[row][known]] = part.similarities[row][known]
    return similarities


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("batch_size", [1, 37, 500])
def test_similarities_are_those_of_brute_force(
    weights: bool, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(covisitation, "_LEAST_PENDING", 300)  # so that merges happen on the way
    events = stream(500, weights)
    learner = CoVisitation(CoVisitationParameters(neighbours=ITEMS))
    for start in range(0, 500, batch_size):
        learner.learn(Interactions(*(column[start : start + batch_size] for column in events)), USERS, ITEMS)
    np.testing.assert_allclose(dense(learner), brute_force(events, 0.97, 5.0), rtol=1e-6)


def test_neighbours_come_best_first_and_padded() -> None:
    learner = CoVisitation(CoVisitationParameters(neighbours=6))
    learner.learn(stream(60), USERS, ITEMS + 1)
    part = learner.content([str(row) for row in range(ITEMS + 1)]).parts["items"]
    assert part.rows.shape == part.similarities.shape == (ITEMS + 1, 6)
    assert (np.diff(part.similarities, axis=1) <= 0).all()
    assert ((part.rows >= 0) == (part.similarities > 0)).all()
    assert (part.rows[ITEMS] == -1).all()  # never seen


def test_an_item_is_no_neighbour_of_itself() -> None:
    events = stream(300)
    events.items[:] = 4
    events.recent[events.recent >= 0] = 4
    learner = CoVisitation(CoVisitationParameters())
    learner.learn(events, USERS, ITEMS)
    assert not dense(learner).any()


def test_a_source_keeps_its_largest_pairs_only() -> None:
    table = PairTable(capacity=3)
    targets = np.arange(1, 8, dtype=np.int32)
    table.add(np.zeros(7, dtype=np.int32), targets, np.array([1.0, 9, 2, 8, 3, 7, 4]))
    table.add(np.full(2, 5, dtype=np.int32), np.array([1, 2], dtype=np.int32), np.array([0.1, 0.2]))
    keys, sums = table.merged()
    assert [(key >> 32, key & 0xFFFFFFFF) for key in keys.tolist()] == [
        (0, 2),
        (0, 4),
        (0, 6),
        (5, 1),
        (5, 2),
    ]
    assert sums.tolist() == [9.0, 8.0, 7.0, 0.1, 0.2]


def test_when_pairs_are_merged_depends_on_the_pairs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covisitation, "_LEAST_PENDING", 50)
    events = stream(200)
    one, other = CoVisitation(CoVisitationParameters()), CoVisitation(CoVisitationParameters())
    for start in range(0, 200, 20):
        batch = Interactions(*(column[start : start + 20] for column in events))
        one.learn(batch, USERS, ITEMS)
        other.learn(batch, USERS, ITEMS)
        other.content([str(row) for row in range(ITEMS)])
        saved, other = other.state(), CoVisitation(CoVisitationParameters())
        other.restore(saved)
    for name, array in one.state().items():
        assert array.tobytes() == other.state()[name].tobytes(), name
