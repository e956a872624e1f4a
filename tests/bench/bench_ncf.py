"""GMF by the protocol of the NCF paper (He et al. 2017) on its ML-1M split, implicit's ALS beside it.

Each user's latest item is ranked among 99 items that the paper drew, by the user's trained vector. 156 of
those lists hold the positive itself; like the authors' evaluator, a set removes it. Ties count against us.
"""

import argparse
import math
import time
from typing import NamedTuple

import msgspec
import numpy as np
import report
import streams
import torch
from implicit.als import AlternatingLeastSquares
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from sluice_trainer.learners.gmf import GMF, GMFParameters
from sluice_trainer.learners.protocol import Interactions

USERS, ITEMS, FACTORS, K = 6040, 3706, 32, 10
PARAMETERS = GMFParameters(
    dimension=FACTORS, epochs=15, batch=1024, negatives=8, popularity=0.0, rate=0.2, weight_decay=0.01
)
Pairs = NDArray[np.int64]


class Split(NamedTuple):
    """``train (n, 2)`` pairs of user and item, and for each user ``candidates (6040, 100)``: the
    positive first, then the negatives; -1 fills up where these held the positive.
    """

    train: Pairs
    candidates: Pairs


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


def gmf(split: Split, seed: int, parameters: GMFParameters) -> tuple[float, float, float]:
    """Return HR, NDCG and seconds of one seed."""
    learner = GMF(parameters, seed)
    began = time.perf_counter()
    learner.fit(history(split.train), USERS, ITEMS)
    seconds = time.perf_counter() - began
    scores = learner.scores(np.arange(USERS), np.maximum(split.candidates, 0))
    return (*measure(scores, split.candidates), seconds)


def als(split: Split, seed: int) -> tuple[float, float, float]:
    """Return the same of implicit's ALS with as many factors."""
    matrix = csr_matrix((np.ones(len(split.train), dtype=np.float32), split.train.T), shape=(USERS, ITEMS))
    model = AlternatingLeastSquares(factors=FACTORS, random_state=seed, num_threads=1, use_gpu=False)
    began = time.perf_counter()
    model.fit(matrix, show_progress=False)
    seconds = time.perf_counter() - began
    items = model.item_factors[np.maximum(split.candidates, 0)]  # (6040, 100, 32)
    return (*measure(np.einsum("bd,bnd->bn", model.user_factors, items), split.candidates), seconds)


def main() -> None:
    """Print the table; ``--quick`` trains one seed for three epochs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    report.header(report.command())
    split = load()
    parameters = msgspec.structs.replace(PARAMETERS, epochs=3) if quick else PARAMETERS
    seeds = (1,) if quick else (1, 2, 3)
    rows = [(f"GMF, seed {seed}", *gmf(split, seed, parameters)) for seed in seeds]
    rows.append(("GMF, mean", *(float(np.mean([row[column] for row in rows])) for column in (1, 2, 3))))
    rows.append(("implicit ALS", *als(split, 1)))
    report.table(("", f"HR@{K}", f"NDCG@{K}", "fit s"), [(*row[:3], f"{row[3]:.0f}") for row in rows])


if __name__ == "__main__":
    main()
