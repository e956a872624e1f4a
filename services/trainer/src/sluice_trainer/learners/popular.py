"""Popular: exact weighted counts, the same answer for everybody. The baseline every other learner must beat."""

from collections.abc import Mapping

import msgspec
import numpy as np

from sluice.encoder import ConstantEncoder
from sluice.model import Scalar
from sluice.snapshot.content import UnitContent, VectorsContent
from sluice_trainer.learners import parameters as wire
from sluice_trainer.learners.batches import refuse_bad_weights
from sluice_trainer.learners.protocol import Interactions, State, TrainStats


class PopularParameters(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Popular has nothing to choose; the event weights of the source say what an event counts."""


class Popular:
    """Sums the weights of each item's interactions (float64: exact for whole weights up to 2^53)."""

    def __init__(self, parameters: PopularParameters, seed: int = 0) -> None:
        self.parameters, self.seed = parameters, seed
        self.counts = np.zeros(0, dtype=np.float64)  # (items,)

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Scalar], seed: int) -> "Popular":
        """Return a fresh learner; raises :class:`sluice.errors.InvalidModel`."""
        return cls(wire.read(parameters, PopularParameters), seed)

    def fit(self, history: Interactions, users: int, items: int) -> TrainStats:
        """Count all history from zero."""
        refuse_bad_weights(history, history.weights)
        self.counts = np.zeros(items, dtype=np.float64)
        return self.learn(history, users, items)

    def learn(self, batch: Interactions, users: int, items: int) -> TrainStats:
        """Add the batch's weights to its items' counts."""
        refuse_bad_weights(batch, batch.weights)
        self.counts = np.append(self.counts, np.zeros(max(0, items - len(self.counts))))
        np.add.at(self.counts, batch.items, batch.weights.astype(np.float64))
        return TrainStats(events=len(batch.items))

    def forget(self, user: int) -> None:
        """Do nothing: no state is kept by user."""

    def content(self, identifiers: list[str]) -> UnitContent:
        """Return the counts as vectors of width 1, to be multiplied by the constant query 1."""
        matrix = np.zeros(
            (len(identifiers), 1), dtype=np.float32
        )  # a refused batch may have brought new items
        matrix[: len(self.counts), 0] = self.counts[: len(identifiers)]
        one = np.ones(1, dtype=np.float32)
        part = VectorsContent(identifiers=list(identifiers), matrix=matrix)
        return UnitContent(parts={"items": part}, encoder=ConstantEncoder(one))

    def state(self) -> State:
        """Return ``counts (items,) float64``."""
        return {"counts": self.counts.copy()}

    def restore(self, state: State) -> None:
        """Take over ``counts``."""
        self.counts = np.array(state["counts"], dtype=np.float64)
