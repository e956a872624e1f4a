"""Encoders: one query per user, pure, checked against the equation in their docstring."""

import numpy as np
import pytest

from sluice import encoder as encoders
from sluice.encoder import (
    ConstantEncoder,
    MeanEncoder,
    NeighboursEncoder,
    RecentInteraction,
    RidgeEncoder,
    event_weight,
    weigh,
)
from sluice.errors import SnapshotRefused

D, ITEMS = 5, 30


@pytest.fixture
def chance():
    return np.random.default_rng(11)


@pytest.fixture
def items(chance):
    return chance.normal(size=(ITEMS, D)).astype(np.float32)


def ridge(items, chance, background=0.1, target=1.0) -> RidgeEncoder:
    prior = chance.normal(size=D).astype(np.float32)
    return RidgeEncoder(prior, items.T @ items, decay=0.9, ridge=2.0, background=background, target=target)


def histories(chance, users=8, width=12):
    rows = chance.integers(-1, ITEMS, size=(users, width)).astype(np.int32)
    weights = chance.uniform(0.2, 6.0, size=(users, width)).astype(np.float32)
    return rows, weights


def least_squares(encoder: RidgeEncoder, items, rows, weights):
    """Minimise the docstring's sum of squares by stacking its terms as rows of one linear system."""
    left = [np.sqrt(encoder.ridge) * np.eye(D)]
    right = [np.sqrt(encoder.ridge) * encoder.prior.astype(np.float64)]
    for age, (row, weight) in enumerate(zip(rows, weights, strict=True)):
        if row >= 0:
            root = np.sqrt(weight * encoder.decay**age)
            left.append(root * items[row][None, :].astype(np.float64))
            right.append([root * encoder.target])
    left.append(np.sqrt(encoder.background) * items.astype(np.float64))
    right.append(np.zeros(len(items)))
    return np.linalg.lstsq(np.vstack(left), np.concatenate(right), rcond=None)[0]


@pytest.mark.parametrize("background", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("target", [1.0, 4.5])
@pytest.mark.parametrize("width", [3, 12])  # fewer and more than there are dimensions
def test_ridge_solves_the_least_squares_problem_it_states(items, chance, background, target, width):
    encoder = ridge(items, chance, background, target)
    rows, weights = histories(chance, width=width)
    made = encoder.encode(rows, weights, items).vectors
    assert made.dtype == np.float32
    for user in range(len(rows)):
        expected = least_squares(encoder, items, rows[user], weights[user])
        np.testing.assert_allclose(made[user], expected, rtol=2e-4, atol=2e-4)


ALL = ["ridge", "mean", "constant"]


def named(kind, items, chance):
    prior = np.arange(1, D + 1, dtype=np.float32)
    return {
        "ridge": RidgeEncoder(prior, items.T @ items, decay=0.8, ridge=1.0, background=0.2),
        "mean": MeanEncoder(prior, decay=0.8),
        "constant": ConstantEncoder(prior),
    }[kind]


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("width", [0, 1, 50])
def test_without_evidence_the_query_is_exactly_the_prior(items, chance, kind, width):
    encoder = named(kind, items, chance)
    rows = np.full((3, width), -1, dtype=np.int32)
    made = encoder.encode(rows, np.ones((3, width), dtype=np.float32), items).vectors
    assert (made == encoder.prior).all()
    assert made.shape == (3, D)


@pytest.mark.parametrize("kind", ALL)
def test_the_query_of_a_user_does_not_depend_on_the_others_in_the_batch(items, chance, kind):
    encoder = named(kind, items, chance)
    rows, weights = histories(chance)
    together = encoder.encode(rows, weights, items).vectors
    order = chance.permutation(len(rows))
    np.testing.assert_allclose(
        encoder.encode(rows[order], weights[order], items).vectors, together[order], atol=1e-5
    )
    alone = np.vstack([encoder.encode(rows[[u]], weights[[u]], items).vectors for u in range(len(rows))])
    np.testing.assert_allclose(alone, together, atol=1e-5)


@pytest.mark.parametrize("kind", ALL)
def test_padding_changes_nothing_and_an_unknown_items_weight_neither(items, chance, kind):
    encoder = named(kind, items, chance)
    rows, weights = histories(chance)
    made = encoder.encode(rows, weights, items).vectors
    padded = np.pad(rows, ((0, 0), (0, 7)), constant_values=-1)
    junk = np.pad(weights, ((0, 0), (0, 7)), constant_values=99.0)
    junk[padded < 0] = 1e6
    np.testing.assert_allclose(encoder.encode(padded, junk, items).vectors, made, atol=1e-5)


@pytest.mark.parametrize("kind", ["ridge", "mean"])
def test_an_item_that_the_snapshot_lacks_leaves_a_hole_and_the_others_keep_their_age(items, chance, kind):
    encoder = named(kind, items, chance)
    ones = np.ones((1, 3), dtype=np.float32)
    hole = encoder.encode(np.array([[-1, 4, 7]], dtype=np.int32), ones, items).vectors
    aged = np.array([[0.8, 0.8]], dtype=np.float32)
    np.testing.assert_allclose(
        hole, encoder.encode(np.array([[4, 7]], dtype=np.int32), aged, items).vectors, atol=1e-5
    )
    closed = encoder.encode(np.array([[4, 7, -1]], dtype=np.int32), ones, items).vectors
    if kind == "ridge":
        assert not np.allclose(hole, closed, atol=1e-3)
    else:  # a mean is the same whatever the common factor
        np.testing.assert_allclose(hole, closed, atol=1e-5)


def test_the_mean_weighs_by_event_and_age(items, chance):
    encoder = named("mean", items, chance)
    made = encoder.encode(
        np.array([[3, -1, 5]], dtype=np.int32), np.array([[2.0, 9.0, 1.0]], dtype=np.float32), items
    ).vectors
    expected = (2.0 * items[3] + 0.64 * items[5]) / 2.64
    np.testing.assert_allclose(made[0], expected, atol=1e-5)


def test_neighbours_get_aged_weights_and_nothing_where_unknown():
    query = NeighboursEncoder(decay=0.5).encode(
        np.array([[3, -1, 5]], dtype=np.int32), np.array([[2.0, 9.0, 1.0]], dtype=np.float32), None
    )
    assert query.vectors is None
    np.testing.assert_allclose(query.weights, [[2.0, 0.0, 0.25]])
    np.testing.assert_array_equal(query.rows, [[3, -1, 5]])


@pytest.mark.parametrize("kind", ["ridge", "mean"])
def test_an_encoder_of_vectors_refuses_a_unit_without_vectors(items, chance, kind):
    with pytest.raises(SnapshotRefused):
        named(kind, items, chance).encode(np.zeros((1, 1), np.int32), np.ones((1, 1), np.float32), None)


def test_every_encoder_is_restored_from_what_it_says_of_itself(items, chance):
    rows, weights = histories(chance)
    made = [ridge(items, chance, target=2.0), MeanEncoder(items[0], decay=0.7), ConstantEncoder(items[1])]
    for encoder in [*made, NeighboursEncoder(decay=0.3)]:
        again = encoders.restore(encoder.kind, encoder.parameters(), encoder.arrays())
        for before, after in zip(
            encoder.encode(rows, weights, items), again.encode(rows, weights, items), strict=True
        ):
            np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("kind", "parameters", "arrays"),
    [
        ("magic", {}, {}),
        ("ridge", {"decay": 0.9}, {"prior": np.zeros(2), "gram": np.zeros((2, 2))}),
        ("ridge", {"decay": 0.9, "ridge": 1.0, "background": 0.0}, {"prior": np.zeros(2)}),
        ("mean", {"decay": 0.9, "extra": 1}, {"prior": np.zeros(2)}),
        ("mean", {}, {"prior": np.zeros(2)}),
        ("constant", {}, {}),
        ("neighbours", {}, {}),
    ],
)
def test_an_encoder_that_is_unknown_or_lacks_something_is_refused(kind, parameters, arrays):
    with pytest.raises(SnapshotRefused, match=kind):
        encoders.restore(kind, parameters, arrays)


def test_an_event_counts_its_kinds_weight_times_its_value():
    weights = {"cart": 3.0, "order": 6.0, "bot": 0.0}
    assert event_weight(weights, "cart", 2.0) == 6.0
    assert event_weight(weights, "view", 2.0) == 2.0
    assert event_weight(weights, "bot", 2.0) == 0.0
    recent = [RecentInteraction("a", "order"), RecentInteraction("b", "view", 0.5)]
    np.testing.assert_array_equal(weigh(recent, weights), np.array([[6.0, 0.5]], dtype=np.float32))
    assert weigh([], weights).shape == (1, 0)
