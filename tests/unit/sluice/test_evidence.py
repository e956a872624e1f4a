"""Statistics of evidence, against plain computations on the raw events."""

import math

import numpy as np
import pytest

from sluice.evidence import EvidenceRow, Hits, Paired, Requests, Tally, add_up, folded


def hits_of(answers: np.ndarray, hit: np.ndarray) -> Hits:
    """The statistics of users with so many answers and hits each."""
    return Hits(
        users=len(answers),
        answers=int(answers.sum()),
        hits=int(hit.sum()),
        answers_squared=float((answers**2).sum()),
        hits_squared=float((hit**2).sum()),
        answers_hits=float((answers * hit).sum()),
    )


def users(chance: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Users who differ in how much they ask and how easily they are pleased."""
    answers = chance.geometric(0.1, n).astype(np.float64)
    return answers, chance.binomial(answers.astype(int), chance.beta(1, 9, n)).astype(np.float64)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("n", [200, 1_000])
def test_the_hit_rates_variance_is_that_of_resampled_users(seed, n):
    chance = np.random.default_rng(seed)
    answers, hit = users(chance, n)
    made = hits_of(answers, hit)
    assert made.rate == hit.sum() / answers.sum()
    drawn = chance.integers(0, n, size=(4_000, n))
    rates = hit[drawn].sum(axis=1) / answers[drawn].sum(axis=1)
    assert made.rate_variance == pytest.approx(rates.var(), rel=0.15)


def test_the_variance_with_users_as_clusters_is_larger_than_that_of_single_answers():
    answers, hit = users(np.random.default_rng(4), 2_000)
    made = hits_of(answers, hit)
    assert made.rate_variance > 1.3 * made.rate * (1 - made.rate) / made.answers


def test_one_answer_a_user_is_the_ordinary_variance_of_a_share():
    hit = np.array([1.0] * 30 + [0.0] * 70)
    made = hits_of(np.ones(100), hit)
    assert made.rate_variance == pytest.approx(0.3 * 0.7 / 99)


@pytest.mark.parametrize(
    ("made", "variance"),
    [
        (Hits(), math.inf),
        (Hits(users=1, answers=5, hits=1, answers_squared=25, hits_squared=1, answers_hits=5), math.inf),
        (Hits(users=3), math.inf),
        (hits_of(np.array([3.0, 5.0]), np.zeros(2)), 0.0),
        (hits_of(np.array([3.0, 5.0]), np.array([3.0, 5.0])), 0.0),
    ],
)
def test_the_variance_at_its_edges(made, variance):
    assert made.rate_variance == variance
    assert math.isnan(made.rate) == (made.answers == 0)


def test_statistics_of_parts_add_up_to_those_of_the_whole():
    answers, hit = users(np.random.default_rng(5), 300)
    parts = [hits_of(answers[part::3], hit[part::3]) for part in range(3)]
    assert parts[0] + parts[1] + parts[2] == hits_of(answers, hit)


def test_adding_up_equals_adding_by_hand_in_any_order_of_partitions():
    chance = np.random.default_rng(6)
    rows = [
        EvidenceRow(
            rollout="r",
            snapshot="s",
            writer="paired/m",
            sequence=f"{number}:0-9",
            at=float(number),
            paired={metric: Paired(n=number, candidate=number / 2) for metric in ("mrr", "recall@20")},
        )
        for number in range(30)
    ]
    for _ in range(4):
        chance.shuffle(rows)  # type: ignore[arg-type]
        totals = add_up(iter(rows), 0)
        assert totals.paired == {m: Paired(n=435, candidate=217.5) for m in ("mrr", "recall@20")}
        assert totals.paired_at == rows[-1].at
        assert (totals.requests_at, totals.hits_at) == (None, None)


def test_no_rows_add_up_to_nothing():
    totals = add_up([], 5)
    assert (totals.paired, totals.requests, totals.hits, totals.paired_at) == ({}, {}, {}, None)


def scored(sequence: str, n: int = 1) -> EvidenceRow:
    return EvidenceRow(
        rollout="r", snapshot="s", writer="paired/m", sequence=sequence, at=1.0, paired={"mrr": Paired(n=n)}
    )


@pytest.mark.parametrize(
    ("sequence", "counts"),
    [
        ("0:10-20", True),
        ("1:0-5", True),  # of another partition nothing is counted yet
        ("0:10-11,1:0-5", True),
        ("10", True),
        ("0:9-20", False),
        ("0:0-10", False),
        ("0:9-20,1:0-5", False),
        ("9", False),
        ("heartbeat:12.500", False),
        ("", False),
    ],
)
def test_an_increment_counts_if_all_of_it_lies_behind_what_is_counted(sequence, counts):
    before = folded(Tally(), scored("0:0-10"))
    after = folded(before, scored(sequence))
    assert (after is before) == (not counts)
    assert after.paired["mrr"].n == 1 + counts
    assert folded(after, scored(sequence)) is after


def test_a_tally_does_not_grow_with_its_rows():
    tally = Tally()
    for number in range(500):
        tally = folded(tally, scored(f"0:{number}-{number + 1},1:{2 * number}-{2 * number + 2}"))
        tally = folded(tally, scored("heartbeat:1.0"))
    assert tally == Tally(paired={"mrr": Paired(n=500)}, counted={"0": 500, "1": 1_000})


def test_requests_are_added_by_the_writers_own_count():
    tally = Tally()
    for number in (1, 2, 2, 1, 5, 4):  # it counts up and may leave numbers out
        row = EvidenceRow(
            rollout="r",
            snapshot="s",
            writer="requests/p",
            sequence=str(number),
            at=1.0,
            requests=Requests(n=10 * number, errors=1),
        )
        tally = folded(tally, row)
    assert tally.requests is not None
    assert (tally.requests.n, tally.requests.errors) == (80, 3)
