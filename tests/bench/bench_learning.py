"""Events a second of GMF's ``learn``, d = 64, one thread, beside river's FunkMF in the same run.

Events go in batches of 8,192 over 6,000 users and 4,000 items, popularity falling as in MovieLens; every
learner has seen all rows before the clock starts. river learns the same events one by one: once without
negatives, once with four more calls of target 0 an event. The best of five turns counts.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import report
import torch
from river import reco

from sluice_trainer.learners.batches import take
from sluice_trainer.learners.gmf import GMF, GMFParameters
from sluice_trainer.learners.protocol import Interactions

USERS, ITEMS, DIMENSION, BATCH, TURNS = 6000, 4000, 64, 8192, 5


def events(count: int, seed: int) -> Interactions:
    """Return random events, items drawn by rank^-0.7; 50 recent items each."""
    draw = np.random.default_rng(seed)
    mass = np.arange(1, ITEMS + 1) ** -0.7
    items = draw.choice(ITEMS, count, p=mass / mass.sum()).astype(np.int32)
    recent = draw.integers(0, ITEMS, (count, 50)).astype(np.int32)
    users = draw.integers(0, USERS, count).astype(np.int32)
    ones = np.ones(count, dtype=np.float32)
    keys = np.arange(count, dtype=np.uint64) + np.uint64(seed << 32)
    return Interactions(users, items, ones, recent, (recent >= 0).astype(np.float32), keys)


def gmf_turn(count: int, negatives: int) -> Callable[[int], float]:
    """Return a function that learns ``count`` events and gives events a second."""
    learner = GMF(GMFParameters(dimension=DIMENSION, learn_negatives=negatives), 1)
    learner.learn(events(count, 99), USERS, ITEMS)

    def turn(number: int) -> float:
        history = events(count, number)
        batches = [take(history, slice(start, start + BATCH)) for start in range(0, count, BATCH)]
        began = time.perf_counter()
        for batch in batches:
            learner.learn(batch, USERS, ITEMS)
        return count / (time.perf_counter() - began)

    return turn


def river_turn(count: int, negatives: int) -> Callable[[int], float]:
    """Return the same for river: one event at a time, target 1, and 0 for its negatives."""
    learner = reco.FunkMF(n_factors=DIMENSION, seed=1)

    def turn(number: int) -> float:
        history = events(count, number)
        users, items = history.users.tolist(), history.items.tolist()
        others = history.recent[:, :negatives].tolist()
        began = time.perf_counter()
        for user, item, unliked in zip(users, items, others, strict=True):
            learner.learn_one(user, item, 1.0)
            for other in unliked:
                learner.learn_one(user, other, 0.0)
        return count / (time.perf_counter() - began)

    turn(99)
    return turn


def main() -> None:
    """Print the table; ``--quick`` takes a tenth of the events."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    count = 24_576 if parser.parse_args().quick else 204_800
    torch.set_num_threads(1)
    report.header(report.command())
    turns = {
        "river FunkMF, positive only": river_turn(count // 10, 0),
        "GMF, positive only": gmf_turn(count, 0),
        "river FunkMF, four negatives": river_turn(count // 10, 4),
        "GMF, four negatives": gmf_turn(count, 4),
    }
    best = dict.fromkeys(turns, 0.0)
    for number in range(TURNS):
        for name, turn in turns.items():
            best[name] = max(best[name], turn(number))
    alike = {name: best[name.replace("GMF", "river FunkMF") if name[0] == "G" else name] for name in best}
    plain = best["river FunkMF, positive only"]
    report.table(
        ("learner", "events/s", "beside river", "beside river, positive only"),
        [
            (name, f"{rate:,.0f}", f"{rate / alike[name]:.1f}x", f"{rate / plain:.1f}x")
            for name, rate in best.items()
        ],
    )


if __name__ == "__main__":
    main()
