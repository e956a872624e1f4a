"""GMF's own promises: folding, gradients, rollback of a bad batch, counter-based draws, growth by tenths."""

import numpy as np
import pytest
import torch

from sluice_trainer.learners import gmf_model
from sluice_trainer.learners.gmf import GMF, GMFParameters
from sluice_trainer.learners.protocol import Interactions, NonFiniteLoss
from sluice_trainer.learners.sampling import Positives, Sampler, hashes, order
from sluice_trainer.learners.tables import Table

USERS, ITEMS = 40, 60
SMALL = GMFParameters(dimension=8, epochs=10, batch=64)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def two_tastes(events: int = 800, first_key: int = 0) -> Interactions:
    """Even users take even items, odd users odd ones."""
    draw = np.random.default_rng(5)
    users = draw.integers(0, USERS, events).astype(np.int32)
    items = (draw.integers(0, ITEMS // 2, events) * 2 + users % 2).astype(np.int32)
    recent = np.full((events, 50), -1, dtype=np.int32)
    keys = np.arange(first_key, first_key + events, dtype=np.uint64)
    ones = np.ones(events, dtype=np.float32)
    return Interactions(users, items, ones, recent, np.zeros((events, 50), dtype=np.float32), keys)


def trained() -> GMF:
    learner = GMF(SMALL, 1)
    learner.fit(two_tastes(), USERS, ITEMS)
    return learner


def test_fit_tells_the_two_tastes_apart() -> None:
    scores = trained().scores(np.arange(USERS), np.tile(np.arange(ITEMS), (USERS, 1)))
    same = (np.arange(USERS)[:, None] % 2) == (np.arange(ITEMS)[None, :] % 2)
    assert scores[same].mean() > scores[~same].mean() + 1


def test_h_folds_into_both_sides_so_that_inner_products_are_the_logits() -> None:
    learner = trained()
    learner.model.h[::3] *= -1  # signs must fold too
    matrix = learner.content([str(row) for row in range(ITEMS)]).parts["items"].matrix
    root = (learner.model.h.sign() * learner.model.h.abs().sqrt()).numpy()
    folded = (learner.model.users.used.numpy() * root) @ matrix.T
    logits = learner.scores(np.arange(USERS), np.tile(np.arange(ITEMS), (USERS, 1)))
    np.testing.assert_allclose(folded, logits, rtol=1e-4, atol=1e-5)


def test_the_encoders_prior_is_the_folded_mean_of_the_trained_users() -> None:
    learner = trained()
    encoder = learner.content([str(row) for row in range(ITEMS)]).encoder
    root = learner.model.h.sign() * learner.model.h.abs().sqrt()
    np.testing.assert_allclose(
        encoder.arrays()["prior"], learner.model.users.mean_trained() * root, rtol=1e-5
    )


@pytest.mark.parametrize("negatives", [0, 3])
def test_gradients_are_those_of_autograd(negatives: int) -> None:
    draw = torch.Generator().manual_seed(0)
    p, q = (torch.randn(5, 4, generator=draw, requires_grad=True) for _ in range(2))
    n = torch.randn(5, negatives, 4, generator=draw, requires_grad=True)
    h = torch.randn(4, generator=draw, requires_grad=True)
    weights, kept = torch.rand(5, generator=draw), (torch.rand(5, negatives, generator=draw) > 0.3).float()
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    loss = bce((p * q) @ h, torch.ones(5), weight=weights, reduction="sum")
    if negatives:
        y = torch.einsum("bd,bnd->bn", p * h, n)
        loss = loss + bce(y, torch.zeros_like(y), weight=weights[:, None] * kept, reduction="sum")
        made = gmf_model.sampled(*(each.detach() for each in (p, q, n, h)), weights, kept)
    else:
        made = gmf_model.positive_only(*(each.detach() for each in (p, q, h)), weights)
    loss.backward()
    torch.testing.assert_close(made.loss, loss.detach())
    torch.testing.assert_close(made.users, p.grad)
    torch.testing.assert_close(made.items[:5], q.grad)
    torch.testing.assert_close(made.h(), h.grad)
    if negatives:
        torch.testing.assert_close(made.items[5:], n.grad.flatten(0, 1))


def test_softplus_stays_finite_and_exact_far_out() -> None:
    x = torch.tensor([-1000.0, -20.0, 0.0, 20.0, 1000.0])
    torch.testing.assert_close(gmf_model.softplus(x), torch.nn.functional.softplus(x))


def test_items_without_events_start_among_the_rare_ones_not_above_most() -> None:
    learner = GMF(SMALL, 1)
    learner.fit(two_tastes(), USERS, ITEMS + 10)
    learner.learn(two_tastes(0), USERS, ITEMS + 20)
    items = np.arange(ITEMS + 20)
    scores = learner.scores(np.arange(USERS), np.tile(items, (USERS, 1))).mean(axis=0)
    assert scores[ITEMS:].max() < np.median(scores[:ITEMS]) + 0.5


def test_h_is_frozen_while_learning_on() -> None:
    learner = trained()
    before = learner.model.h.clone()
    learner.learn(two_tastes(200, first_key=800), USERS, ITEMS)
    assert torch.equal(learner.model.h, before)


def test_learning_touches_only_the_rows_of_its_events() -> None:
    learner = trained()
    before = learner.model.items.used.clone()
    batch = two_tastes(1, first_key=800)
    learner.parameters = GMFParameters(dimension=8, learn_negatives=0)
    learner.learn(batch, USERS, ITEMS)
    changed = (learner.model.items.used != before).any(dim=1).nonzero().flatten().tolist()
    assert changed == [int(batch.items[0])]


def test_a_batch_whose_loss_is_not_finite_leaves_the_state_as_before_and_is_named() -> None:
    learner = trained()
    batch = two_tastes(3000, first_key=5000)
    broken = int(batch.users[2500])
    first = np.flatnonzero(batch.users == broken)
    batch.users[first[first < 2048]] = (broken + 1) % USERS  # so that whole micro-batches come before it
    learner.model.users.values[broken, 0] = float("nan")
    before = learner.state()
    with pytest.raises(NonFiniteLoss, match=r"952 events with keys 7048\.\.7999"):
        learner.learn(batch, USERS + 5, ITEMS + 5)
    for name, array in learner.state().items():
        assert array.tobytes() == before[name].tobytes(), name


def test_a_fit_that_overflows_leaves_the_state_as_before() -> None:
    learner = trained()
    before = learner.state()
    history = two_tastes()
    history.weights[:] = 3e38
    with pytest.raises(NonFiniteLoss, match="not finite"):
        learner.fit(history, USERS, ITEMS)
    for name, array in learner.state().items():
        assert array.tobytes() == before[name].tobytes(), name


def test_a_forgotten_users_row_is_a_newcomers_and_the_mean_user_leaves_it_out() -> None:
    learner = GMF(GMFParameters(dimension=4, epochs=2), seed=3)
    rows = np.arange(20, dtype=np.int32)
    recent = np.full((20, 50), -1, np.int32)
    history = Interactions(
        rows % 5, rows % 7, np.ones(20, np.float32), recent, recent.astype(np.float32), rows.astype(np.uint64)
    )
    learner.fit(history, 5, 7)
    before = learner.state()
    learner.forget(2)
    after = learner.state()
    assert after["users_squares"][2] == 0.0
    assert not np.array_equal(after["users"][2], before["users"][2])
    kept = [0, 1, 3, 4]
    np.testing.assert_array_equal(after["users"][kept], before["users"][kept])
    np.testing.assert_allclose(
        learner.model.users.mean_trained(), before["users"][kept].mean(axis=0), rtol=1e-5
    )


def test_a_table_grows_in_place_and_keeps_values_and_sums() -> None:
    table = Table(2)
    table.grow(100, lambda start, stop: torch.ones(stop - start, 2))
    table.step(table.move(torch.tensor([3, 3, 5]), torch.ones(3, 2)), 0.1, 10.0)
    values, squares, place = table.used.clone(), table.squares[:100].clone(), table.values.data_ptr()
    table.grow(101, lambda start, stop: torch.full((stop - start, 2), 7.0))
    assert (table.size, len(table.values), table.values.data_ptr()) == (101, 101, place)
    assert torch.equal(table.values[:100], values)
    assert torch.equal(table.squares[:100], squares)
    assert table.values[100].tolist() == [7.0, 7.0]


def test_a_row_that_comes_twice_gets_one_clipped_step() -> None:
    table = Table(2)
    table.grow(2, lambda start, stop: torch.zeros(stop - start, 2))
    _, clipped = table.step(
        table.move(torch.tensor([1, 1]), torch.tensor([[30.0, 0.0], [40.0, 0.0]])), 0.1, 10.0
    )
    assert clipped == 1
    assert table.squares[1].tolist() == pytest.approx([50.0])
    assert table.values[1].tolist() == pytest.approx([-0.1 * 2**0.5, 0.0])


def test_draws_depend_on_seed_key_and_round_only() -> None:
    sampler = Sampler(np.ones(1000, dtype=np.int64), 0.5)
    keys = np.arange(50, dtype=np.uint64)
    drawn = sampler.draw(1, keys, 4, 0)
    np.testing.assert_array_equal(sampler.draw(1, keys[20:], 4, 0), drawn[20:])
    assert (sampler.draw(2, keys, 4, 0) != drawn).mean() > 0.9
    assert (sampler.draw(1, keys, 4, 1) != drawn).mean() > 0.9


@pytest.mark.parametrize(("power", "share"), [(0.0, 0.5), (0.5, 0.75), (1.0, 0.9)])
def test_negatives_are_drawn_by_a_power_of_popularity(power: float, share: float) -> None:
    sampler = Sampler(np.array([9, 1, 0], dtype=np.int64), power)
    drawn = sampler.draw(0, np.arange(20_000, dtype=np.uint64), 1, 0)
    assert (drawn == 0).mean() == pytest.approx(share, abs=0.02)
    assert not (drawn == 2).any()


def test_hashes_fill_their_range_evenly() -> None:
    drawn = hashes(0, np.arange(100_000, dtype=np.uint64), np.zeros(1, dtype=np.uint64)) % np.uint64(16)
    assert np.bincount(drawn.astype(np.int64)).std() < 3 * np.sqrt(100_000 / 16)


def test_each_round_has_another_order() -> None:
    keys = np.arange(1000, dtype=np.uint64)
    first, second = order(1, keys, 0), order(1, keys, 1)
    assert sorted(first.tolist()) == list(range(1000))
    assert (first != second).mean() > 0.9


def test_known_positives_are_recognised() -> None:
    positives = Positives(np.array([1, 1, 2], dtype=np.int32), np.array([5, 5, 6], dtype=np.int32))
    held = positives.hold(np.array([1, 2, 3], dtype=np.int32), np.array([[5, 6], [5, 6], [5, 6]]))
    assert held.tolist() == [[True, False], [False, True], [False, False]]
