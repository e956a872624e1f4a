"""What every learner does to a batch: name it, refuse it before it touches a state, take a part of it."""

import numpy as np
from numpy.typing import NDArray

from sluice.encoder import Matrix
from sluice_trainer.learners.protocol import Interactions, NonFiniteLoss


def name_of(batch: Interactions) -> str:
    """Return how a message names a batch: its size and the range of its keys."""
    if not len(batch.keys):
        return "batch of 0 events"
    return f"batch of {len(batch.keys)} events with keys {batch.keys.min()}..{batch.keys.max()}"


def refuse_bad_weights(batch: Interactions, *columns: Matrix) -> None:
    """Raise :class:`NonFiniteLoss` if a weight in ``columns`` is below 0 or not finite: it would stay."""
    for weights in columns:
        if weights.size and not (weights.min() >= 0 and weights.max() < np.inf):  # nan compares false
            raise NonFiniteLoss(
                f"{name_of(batch)} holds weights that are negative or not finite; check the events' values"
            )


def take(batch: Interactions, chosen: slice | NDArray[np.int64]) -> Interactions:
    """Return some of a batch's events."""
    return Interactions(
        batch.users[chosen],
        batch.items[chosen],
        batch.weights[chosen],
        batch.recent[chosen],
        batch.recent_weights[chosen],
        batch.keys[chosen],
    )
