"""GMF: the generalised matrix factorisation of neural collaborative filtering, then learning event by event.

``fit`` trains user rows, item rows and the output weights h with sampled negatives; ``learn`` goes on with
h frozen. A snapshot holds the items only; the query comes from the user's recent items through a ridge
encoder whose prior is the mean user.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray

from sluice.encoder import Matrix, RidgeEncoder
from sluice.model import Scalar
from sluice.snapshot.content import UnitContent, VectorsContent
from sluice_trainer.learners import parameters as wire
from sluice_trainer.learners import sampling
from sluice_trainer.learners.batches import name_of, refuse_bad_weights, take
from sluice_trainer.learners.gmf_model import GMFModel, Gradients, MicroBatch
from sluice_trainer.learners.protocol import Interactions, NonFiniteLoss, State, TrainStats
from sluice_trainer.learners.sampling import Positives, Sampler
from sluice_trainer.learners.tables import Move, Undo

_LEARN_BATCH: Final = 2048  # the fastest on one core
_CLIP: Final = 10.0  # longest summed gradient of a row in a micro-batch
_H_RATE: Final = 0.1  # h's learning rate beside the rows'
_USERS, _ITEMS, _NEGATIVES = 1, 2, 3  # added to the seed: streams of draws that do not repeat each other


class GMFParameters(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What each does, and why these defaults: docs/reference/algorithms.md and ADR 2.

    ``dimension`` to ``scale`` train, ``learn_*`` learn on, the rest make queries.
    """

    dimension: Annotated[int, Meta(ge=2, le=512)] = 64
    epochs: Annotated[int, Meta(ge=1, le=1000)] = 20
    batch: Annotated[int, Meta(ge=1, le=65_536)] = 512
    negatives: Annotated[int, Meta(ge=1, le=1000)] = 4
    popularity: Annotated[float, Meta(ge=0, le=1)] = 0.5
    rate: Annotated[float, Meta(gt=0, le=10)] = 0.1
    weight_decay: Annotated[float, Meta(ge=0, le=10)] = 0.05
    scale: Annotated[float, Meta(gt=0, le=10)] = 0.1
    learn_negatives: Annotated[int, Meta(ge=0, le=1000)] = 0
    learn_rate: Annotated[float, Meta(gt=0, le=10)] = 0.1
    query_decay: Annotated[float, Meta(gt=0, le=1)] = 0.82
    target: Annotated[float, Meta(gt=0, le=100)] = 8.0
    ridge: Annotated[float, Meta(gt=0, le=10_000)] = 40.0
    background: Annotated[float, Meta(ge=0, le=100)] = 0.0


class GMF:
    """GMF behind the :class:`~sluice_trainer.learners.protocol.Learner` protocol; one thread, float32."""

    def __init__(self, parameters: GMFParameters, seed: int = 0) -> None:
        self.parameters, self.seed = parameters, seed
        self.model = GMFModel(parameters.dimension)
        self.counts = np.zeros(0, dtype=np.int64)  # (items,), events
        self.sampler: Sampler | None = None  # made from the counts when asked for

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Scalar], seed: int) -> "GMF":
        """Return a fresh learner; raises :class:`sluice.errors.InvalidModel`."""
        return cls(wire.read(parameters, GMFParameters), seed)

    def fit(self, history: Interactions, users: int, items: int) -> TrainStats:
        """Train from scratch; the loss is the last epoch's. Raises :class:`NonFiniteLoss`, state as before."""
        refuse_bad_weights(history, history.weights)
        made = GMF(self.parameters, self.seed)
        made._grow(users, items)
        made._count(history, 1)
        liked = Positives(history.users, history.items)
        loss = float("nan")
        for epoch in range(self.parameters.epochs):
            loss = made._epoch(history, liked, epoch)
        made.model.welcome(made._newcomers())
        self.model, self.counts, self.sampler = made.model, made.counts, None
        return TrainStats(events=len(history.items), loss=loss)

    def _epoch(self, history: Interactions, liked: Positives, epoch: int) -> float:
        order = sampling.order(self.seed, history.keys, epoch)
        loss = 0.0
        for start in range(0, len(order), self.parameters.batch):
            part = take(history, order[start : start + self.parameters.batch])
            negatives = self._draw(part, self.parameters.negatives, epoch + 1)
            batch = _tensors(part, negatives, ~liked.hold(part.users, negatives))
            gradients, moves = self._moves(batch, part)
            self.model.step(moves, self.parameters.rate, _CLIP)
            self.model.step_h(gradients.h(), _H_RATE * self.parameters.rate)
            loss += float(gradients.loss)
        return loss / max(1, len(order))

    def learn(self, batch: Interactions, users: int, items: int) -> TrainStats:
        """Learn on with h frozen, in micro-batches of 2,048 in the given order."""
        refuse_bad_weights(batch, batch.weights)
        sizes, steps = (self.model.users.size, self.model.items.size), list[list[Undo]]()
        self._grow(users, items)
        self._count(batch, 1)
        try:
            loss, clipped = self._micro_batches(batch, steps)
        except NonFiniteLoss:
            self.model.undo(steps)
            self.model.users.size, self.model.items.size = sizes
            self._count(batch, -1)
            self.counts = self.counts[: sizes[1]]
            raise
        return TrainStats(events=len(batch.items), loss=loss / max(1, len(batch.items)), clipped=clipped)

    def _micro_batches(self, batch: Interactions, steps: list[list[Undo]]) -> tuple[float, int]:
        loss, clipped = 0.0, 0
        for start in range(0, len(batch.items), _LEARN_BATCH):
            part = take(batch, slice(start, start + _LEARN_BATCH))
            negatives = self._draw(part, self.parameters.learn_negatives, 0)
            tensors = _tensors(part, negatives, ~_held(part, negatives))
            gradients, moves = self._moves(tensors, part)
            undo, rows = self.model.step(moves, self.parameters.learn_rate, _CLIP)
            steps.append(undo)
            loss, clipped = loss + float(gradients.loss), clipped + rows
        return loss, clipped

    def _moves(self, batch: MicroBatch, named: Interactions) -> tuple[Gradients, tuple[Move, Move]]:
        made = self.model.gradients(batch, self.parameters.weight_decay)
        moves = self.model.moves(batch, made)
        if not torch.isfinite(made.loss + moves[0].length.sum() + moves[1].length.sum()):
            raise NonFiniteLoss(
                f"{name_of(named)} gave a loss or gradient that is not finite; it was not learned"
            )
        return made, moves

    def _draw(self, part: Interactions, draws: int, round_number: int) -> NDArray[np.int64]:
        if not draws:
            return np.zeros((len(part.keys), 0), dtype=np.int64)
        self.sampler = self.sampler or Sampler(self.counts, self.parameters.popularity)
        return self.sampler.draw(self.seed + _NEGATIVES, part.keys, draws, round_number)

    def _count(self, batch: Interactions, sign: int) -> None:
        np.add.at(self.counts, batch.items, sign)
        self.sampler = None

    def _grow(self, users: int, items: int) -> None:
        user, item = self.model.newcomers
        self.model.users.grow(users, self._fresh(_USERS, user))
        self.model.items.grow(items, self._fresh(_ITEMS, item))
        if items > len(self.counts):
            self.counts = np.append(self.counts, np.zeros(items - len(self.counts), dtype=np.int64))

    def _fresh(self, stream: int, start: torch.Tensor) -> "_Fresh":
        return _Fresh(self.seed + stream, start, self.parameters.scale)

    def _newcomers(self) -> torch.Tensor:
        """Return the mean user and the mean of the rarer half of the items, ``(2, d)``."""
        known = self.counts > 0
        rare = (
            torch.from_numpy(known & (self.counts <= np.median(self.counts[known]))) if known.any() else None
        )
        items = self.model.items.used
        item = items[rare].mean(dim=0) if rare is not None else torch.zeros(items.shape[1])
        return torch.stack([self.model.users.mean_trained(), item])

    def forget(self, user: int) -> None:
        """Make a user's row that of a newcomer, which the mean user leaves out."""
        if user < self.model.users.size:
            fresh = self._fresh(_USERS, self.model.newcomers[0])
            self.model.users.reset(user, fresh(user, user + 1)[0])

    def content(self, identifiers: list[str]) -> UnitContent:
        """Return the items' folded vectors and the encoder towards the mean user."""
        self._grow(self.model.users.size, len(identifiers))  # a refused batch may have brought new items
        items, prior = self.model.folded()
        matrix = items[: len(identifiers)].numpy()
        encoder = RidgeEncoder(
            prior.numpy(),
            matrix.T @ matrix,
            decay=self.parameters.query_decay,
            ridge=self.parameters.ridge,
            background=self.parameters.background,
            target=self.parameters.target,
        )
        part = VectorsContent(identifiers=list(identifiers), matrix=matrix)
        return UnitContent(parts={"items": part}, encoder=encoder)

    def scores(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> Matrix:
        """Return the logits of ``users (B,)`` by their trained rows for ``items (B, n)``, ``(B, n)``.

        Serving never asks this (the query comes from the profile); the paper's protocol does.
        """
        p = self.model.users.values[torch.from_numpy(users)] * self.model.h  # (B, d)
        q = self.model.items.values[torch.from_numpy(items)]  # (B, n, d)
        scores: Matrix = torch.einsum("bd,bnd->bn", p, q).numpy()
        return scores

    def state(self) -> State:
        """Return the model's arrays and ``counts (items,)``."""
        return {**self.model.state(), "counts": self.counts.copy()}

    def restore(self, state: State) -> None:
        """Take over what :meth:`state` gave."""
        self.counts = np.array(state["counts"], dtype=np.int64)
        self.sampler = None
        self.model.restore({name: array for name, array in state.items() if name != "counts"})


class _Fresh:
    """Makes a table's new rows: a start plus noise that depends on seed and row only."""

    def __init__(self, seed: int, start: torch.Tensor, scale: float) -> None:
        self.seed, self.start, self.scale = seed, start, scale

    def __call__(self, start: int, stop: int) -> torch.Tensor:
        width = len(self.start)
        return self.start + torch.from_numpy(sampling.fresh_rows(self.seed, start, stop, width, self.scale))


def _tensors(part: Interactions, negatives: NDArray[np.int64], kept: NDArray[np.bool_]) -> MicroBatch:
    return MicroBatch(
        torch.from_numpy(part.users.astype(np.int64)),
        torch.from_numpy(part.items.astype(np.int64)),
        torch.from_numpy(part.weights.astype(np.float32)),
        torch.from_numpy(negatives),
        torch.from_numpy(kept.astype(np.float32)),
    )


def _held(part: Interactions, negatives: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which ``negatives (B, k)`` are the event's own item or among the user's recent ones."""
    if not negatives.size:
        return np.zeros(negatives.shape, dtype=np.bool_)
    liked = np.append(part.recent, part.items[:, None], axis=1)  # (B, R + 1)
    held: NDArray[np.bool_] = (negatives[:, :, None] == liked[:, None, :]).any(axis=2)
    return held
