"""GMF by the protocol of the NCF paper (He et al. 2017) on its ML-1M split, implicit's ALS beside it.

Each user's latest item is ranked among 99 items that the paper drew, by the user's trained vector. 156 of
those lists hold the positive itself; like the authors' evaluator, a set removes it. Ties count against us.
"""

import math
import time
from typing import NamedTuple

import numpy as np
import streams
from numpy.typing import NDArray

from sluice_trainer.learners.gmf import GMF, GMFParameters
from sluice_trainer.learners.protocol import Interactions

USERS, ITEMS, FACTORS, K = 6040, 3706, 32, 10
PARAMETERS = GMFParameters(dimension=FACTORS, negatives=8, popularity=0.0)
Pairs = NDArray[np.int64]


class Split(NamedTuple):
    """``train (n, 2)`` pairs of user and item, and for each user the candidates, the positive first."""

    train: Pairs
    candidates: Pairs
    """(6040, 100); -1 where the negatives held the positive."""


def load() -> Split:
    """Read the split; the candidates' lines are ``(user,item)`` and 99 items."""
    with streams.opened("ncf-ml-1m", "ml-1m.train.rebuilt_no_time.tsv.gz") as lines:
        train = np.array([[int(cell) for cell in line.split()[:2]] for line in lines])
    candidates = np.full((USERS, 100), -1, dtype=np.int64)
    with streams.opened("ncf-ml-1m", "ml-1m.test.negative.gz") as lines:
        for line in lines:
            pair, *negatives = line.decode().split("\t")
            user, positive = (int(cell) for cell in pair.strip("()").split(","))
            others = sorted({int(cell) for cell in negatives} - {positive})
            candidates[user, : 1 + len(others)] = [positive, *others]
    return Split(train, candidates)


def history(train: Pairs) -> Interactions:
    """Return the pairs as interactions of weight 1; GMF's fit reads no recent items."""
    nothing = np.empty((len(train), 0), dtype=np.int32)
    return Interactions(
        train[:, 0].astype(np.int32),
        train[:, 1].astype(np.int32),
        np.ones(len(train), dtype=np.float32),
        nothing,
        nothing.astype(np.float32),
        np.arange(len(train), dtype=np.uint64),
    )


def measure(scores: NDArray[np.float32], candidates: Pairs) -> tuple[float, float]:
    """Return HR@10 and NDCG@10 of ``scores (6040, 100)``, the positive in column 0."""
    others = np.where(candidates[:, 1:] >= 0, scores[:, 1:], -np.inf)
    ranks = 1 + (others >= scores[:, :1]).sum(axis=1)
    hits = ranks <= K
    return float(hits.mean()), float((hits * math.log(2) / np.log(ranks + 1)).mean())


def gmf(split: Split, seed: int, epochs: int | None) -> tuple[float, float, float]:
    """Return HR, NDCG and seconds of one seed."""
    parameters = PARAMETERS if epochs is None else GMFParameters(**{**asdict(PARAMETERS), "epochs": epochs})
    learner = GMF(parameters, seed)
    began = time.perf_counter()
    learner.fit(history(split.train), USERS, ITEMS)
    seconds = time.perf_counter() - began
    scores = learner.scores(np.arange(USERS), np.maximum(split.candidates, 0))
    return (*measure(scores, split.candidates), seconds)
