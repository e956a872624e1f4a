"""GMF: the generalised matrix factorisation of neural collaborative filtering, then learning event by event.

``fit`` trains user rows P, item rows Q and the output weights h with sampled negatives. ``learn`` goes on
with h frozen. A snapshot holds the items only: ``q·√|h|``, and an encoder whose prior is the mean user
``sign(h)·√|h|·p``, so that inner products are GMF's logits.
"""

from collections.abc import Mapping
from typing import Annotated, Final, NamedTuple

import msgspec
import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray
from torch import Tensor

from sluice.encoder import Matrix, RidgeEncoder
from sluice.model import Scalar
from sluice.snapshot.writer import UnitContent, VectorsContent
from sluice_trainer.learners import parameters as wire
from sluice_trainer.learners import sampling
from sluice_trainer.learners.gmf_model import Gradients, Table, Undo, positive_only, sampled
from sluice_trainer.learners.protocol import Interactions, NonFiniteLoss, State, TrainStats
from sluice_trainer.learners.validation import name_of, refuse_bad_weights

_POOL: Final = 512  # sampled negatives that a micro-batch shares at most
_LEARN_BATCH: Final = 1024
_CLIP: Final = 10.0  # longest summed gradient of a row in a micro-batch
_USERS, _ITEMS, _NEGATIVES = 1, 2, 3  # streams of randomness


class GMFParameters(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """``dimension`` to ``weight_decay`` train, ``learn_*`` learn on, the rest make queries.

    Ranges and what each does: docs/reference/algorithms.md.
    """

    dimension: Annotated[int, Meta(ge=2, le=512)] = 64
    epochs: Annotated[int, Meta(ge=1, le=1000)] = 20
    batch: Annotated[int, Meta(ge=1, le=65_536)] = 512
    negatives: Annotated[int, Meta(ge=1, le=1000)] = 4
    rate: Annotated[float, Meta(gt=0, le=10)] = 0.1
    weight_decay: Annotated[float, Meta(ge=0, le=10)] = 0.02
    scale: Annotated[float, Meta(gt=0, le=10)] = 0.1
    learn_negatives: Annotated[int, Meta(ge=0, le=1000)] = 0
    learn_rate: Annotated[float, Meta(gt=0, le=10)] = 0.1
    query_decay: Annotated[float, Meta(gt=0, le=1)] = 0.9
    target: Annotated[float, Meta(gt=0, le=100)] = 5.0
    ridge: Annotated[float, Meta(gt=0, le=10_000)] = 20.0
    background: Annotated[float, Meta(ge=0, le=100)] = 0.0


class _Batch(NamedTuple):
    """Rows ``users (B,)``, ``items (B,)``, ``weights (B,)`` and ``negatives (M,)``, as tensors."""

    users: Tensor
    items: Tensor
    weights: Tensor
    negatives: Tensor


class GMF:
    """GMF behind the :class:`~sluice_trainer.learners.protocol.Learner` protocol; one thread, float32."""

    def __init__(self, parameters: GMFParameters, seed: int = 0) -> None:
        self.parameters, self.seed = parameters, seed
        self._reset()

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Scalar], seed: int) -> "GMF":
        """Return a fresh learner; raises :class:`sluice.errors.InvalidModel`."""
        return cls(wire.read(parameters, GMFParameters), seed)

    def _reset(self) -> None:
        width = self.parameters.dimension
        self.users, self.items = Table(width), Table(width)
        self.h, self.h_squares = torch.ones(width), torch.zeros(width)
        self.newcomer = torch.zeros(2, width)  # where a new user's and a new item's row starts
        self.counts = np.zeros(0, dtype=np.float64)  # (items,), events

    def fit(self, history: Interactions, users: int, items: int) -> TrainStats:
        """Train from scratch; the loss is that of the last epoch. Raises :class:`NonFiniteLoss`."""
        refuse_bad_weights(history)
        before = self.state()
        self._reset()
        self._grow(users, items)
        self._count(history)
        try:
            losses = [self._epoch(history, number) for number in range(self.parameters.epochs)]
        except NonFiniteLoss:
            self.restore(before)
            raise
        self.newcomer = self._newcomers()
        return TrainStats(events=len(history.items), loss=losses[-1])

    def _epoch(self, history: Interactions, number: int) -> float:
        order = sampling.order(self.seed, history.keys, number)
        loss = 0.0
        for start in range(0, len(order), self.parameters.batch):
            chosen = Interactions(*(column[order[start : start + self.parameters.batch]] for column in history))
            batch = self._tensors(chosen, self.parameters.negatives, number + 1)
            gradients = self._gradients(batch, self.parameters.negatives)
            _refuse(gradients, history)
            self._apply(batch, gradients, self.parameters.rate)
            self._step_h(gradients.h)
            loss += float(gradients.loss)
        return loss / max(1, len(order))

    def learn(self, batch: Interactions, users: int, items: int) -> TrainStats:
        """Learn on with h frozen; see :meth:`Learner.learn`. Micro-batches of 1,024 in the given order."""
        refuse_bad_weights(batch)
        sizes = self.users.size, self.items.size
        self._grow(users, items)
        undo: list[tuple[Table, Undo]] = []
        loss, clipped = 0.0, 0
        try:
            for start in range(0, len(batch.items), _LEARN_BATCH):
                part = Interactions(*(column[start : start + _LEARN_BATCH] for column in batch))
                tensors = self._tensors(part, self.parameters.learn_negatives, 0)
                gradients = self._gradients(tensors, self.parameters.learn_negatives)
                _refuse(gradients, part)
                clipped += self._apply(tensors, gradients, self.parameters.learn_rate, undo)
                loss += float(gradients.loss)
        except NonFiniteLoss:
            for table, rows in reversed(undo):
                table.undo(rows)
            self.users.size, self.items.size = sizes
            raise
        return TrainStats(events=len(batch.items), loss=loss / max(1, len(batch.items)), clipped=clipped)

    def _tensors(self, batch: Interactions, negatives: int, round_number: int) -> _Batch:
        draws = min(_POOL, negatives * len(batch.keys))
        rows = sampling.uniform_rows(self.seed + _NEGATIVES, batch.keys, draws, self.items.size, round_number)
        return _Batch(
            torch.from_numpy(batch.users.astype(np.int64)),
            torch.from_numpy(batch.items.astype(np.int64)),
            torch.from_numpy(batch.weights.astype(np.float32)),
            torch.from_numpy(rows),
        )

    def _gradients(self, batch: _Batch, negatives: int) -> Gradients:
        p, q = self.users.values[batch.users], self.items.values[batch.items]  # (B, d)
        if negatives:
            made = sampled(p, q, self.items.values[batch.negatives], self.h, batch.weights, negatives)
        else:
            made = positive_only(p, q, self.h, batch.weights)
        made.users.add_(p, alpha=self.parameters.weight_decay)
        made.items[: len(q)].add_(q, alpha=self.parameters.weight_decay)
        return made

    def _apply(
        self, batch: _Batch, made: Gradients, rate: float, undo: list[tuple[Table, Undo]] | None = None
    ) -> int:
        users, clipped_users = self.users.step(batch.users, made.users, rate, _CLIP)
        rows = torch.cat([batch.items, batch.negatives])
        items, clipped_items = self.items.step(rows, made.items, rate, _CLIP)
        if undo is not None:
            undo += [(self.users, users), (self.items, items)]
        return clipped_users + clipped_items

    def _step_h(self, gradient: Tensor) -> None:
        self.h_squares += gradient * gradient
        self.h -= 0.1 * self.parameters.rate * gradient / (self.h_squares.sqrt() + 1e-6)

    def _grow(self, users: int, items: int) -> None:
        for table, size, stream, start in (
            (self.users, users, _USERS, self.newcomer[0]),
            (self.items, items, _ITEMS, self.newcomer[1]),
        ):
            table.grow(size, self._fresh(stream, start))

    def _newcomers(self, history: Interactions) -> Tensor:
        """Return where new rows start: the mean user, and the mean of the rarer half of the items."""
        counts = np.bincount(history.items, minlength=self.items.size)
        rare = torch.from_numpy((counts > 0) & (counts <= np.median(counts[counts > 0], initial=1)))
        return torch.stack([self._mean_user(), self.items.values[: self.items.size][rare].mean(dim=0)])

    def _mean_user(self) -> Tensor:
        trained = self.users.squares[: self.users.size].sum(dim=1) > 0
        return self.users.values[: self.users.size][trained].sum(dim=0) / max(1, int(trained.sum()))

    def _fresh(self, stream: int, start: Tensor) -> "_Fresh":
        return _Fresh(self.seed + stream, start, self.parameters.scale)

    def content(self, identifiers: list[str]) -> UnitContent:
        """Return the items' folded vectors and a ridge encoder towards the folded mean user."""
        root = self.h.abs().sqrt()
        matrix = (self.items.values[: len(identifiers)] * root).numpy().copy()
        prior = (self._mean_user() * self.h.sign() * root).numpy().copy()
        encoder = RidgeEncoder(
            prior,
            matrix.T @ matrix,
            decay=self.parameters.query_decay,
            ridge=self.parameters.ridge,
            background=self.parameters.background,
            target=self.parameters.target,
        )
        part = VectorsContent(identifiers=list(identifiers), matrix=matrix)
        return UnitContent(parts={"items": part}, encoder=encoder)

    def scores(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> Matrix:
        """Return the trained users' own logits; ``items (B, n)`` gives ``(B, n)``. For the paper's protocol."""
        p = self.users.values[torch.from_numpy(users)] * self.h  # (B, d)
        q = self.items.values[torch.from_numpy(items)]  # (B, n, d)
        return torch.einsum("bd,bnd->bn", p, q).numpy()

    def state(self) -> State:
        """Return users and items with their Adagrad sums, h with its, and where newcomers start."""
        return {
            "users": self.users.values[: self.users.size].numpy().copy(),
            "users_squares": self.users.squares[: self.users.size].numpy().copy(),
            "items": self.items.values[: self.items.size].numpy().copy(),
            "items_squares": self.items.squares[: self.items.size].numpy().copy(),
            "h": self.h.numpy().copy(),
            "h_squares": self.h_squares.numpy().copy(),
            "newcomer": self.newcomer.numpy().copy(),
        }

    def restore(self, state: State) -> None:
        """Take over what :meth:`state` gave."""
        tensors = {name: torch.from_numpy(np.array(array, dtype=np.float32)) for name, array in state.items()}
        for name, table in (("users", self.users), ("items", self.items)):
            table.size = len(tensors[name])
            table.values, table.squares = tensors[name], tensors[f"{name}_squares"]
        self.h, self.h_squares, self.newcomer = tensors["h"], tensors["h_squares"], tensors["newcomer"]
