"""What every learner is: fit once on history, learn from batches as they arrive, hand over a unit."""

from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from sluice.encoder import Matrix, Rows
from sluice.errors import SluiceError
from sluice.snapshot.content import UnitContent


class Interactions(NamedTuple):
    """``n`` interactions in the order of the journaled plan, as rows of the trainer's vocabularies.

    ``users (n,) int32``, ``items (n,) int32``, ``weights (n,) float32`` (event weight times value).
    ``recent (n, R) int32`` are the items of that user *before* the event, newest first, padded with -1;
    ``recent_weights (n, R) float32`` their weights. ``keys (n,) uint64`` number the events uniquely and
    are all the randomness a learner may use besides its seed, so that a replay draws the same.
    """

    users: Rows
    items: Rows
    weights: Matrix
    recent: Rows
    recent_weights: Matrix
    keys: NDArray[np.uint64]


class TrainStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a fit or a batch did. ``loss`` is the mean over its events; nan if the learner has none."""

    events: int
    loss: float = float("nan")
    clipped: int = 0


class NonFiniteLoss(SluiceError):
    """A batch gave a loss or gradient that is not finite; the learner's state is as before the batch."""


State = dict[str, NDArray[Any]]


class Learner(Protocol):
    """An algorithm that learns from interactions. Deterministic: state = f(seed, parameters, batches)."""

    def fit(self, history: Interactions, users: int, items: int) -> TrainStats:
        """Train from scratch on all history; ``users`` and ``items`` are the sizes of the vocabularies."""

    def learn(self, batch: Interactions, users: int, items: int) -> TrainStats:
        """Learn from new interactions; grows to the given sizes. Raises :class:`NonFiniteLoss`."""

    def forget(self, user: int) -> None:
        """Make a user's row that of a newcomer; the row may be unknown here, and is never used again."""

    def content(self, identifiers: list[str]) -> UnitContent:
        """Return the unit as it is now; row i belongs to ``identifiers[i]``. Copies, so learning may go on."""

    def state(self) -> State:
        """Return the arrays that, with seed and parameters, make this learner; for checkpoints."""

    def restore(self, state: State) -> None:
        """Take over a checkpoint's arrays; afterwards the learner is bit-equal to the one saved."""
