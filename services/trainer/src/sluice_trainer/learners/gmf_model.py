"""Generalised matrix factorisation: its tables, its loss and the loss' gradients.

The logit of user u and item i is ``Σ_k h_k p_uk q_ik`` (He et al. 2017, "Neural collaborative filtering",
eq. 9 with the sigmoid outside).
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sluice_trainer.learners.protocol import State
from sluice_trainer.learners.tables import EPSILON, Move, Table, Undo


class MicroBatch(NamedTuple):
    """``users (B,)``, ``items (B,)`` and k sampled ``negatives (B, k)`` an event, rows, int64.

    ``weights (B,)`` are the events' and ``kept (B, k)`` the negatives', 0 where one is known to be liked;
    both float32.
    """

    users: Tensor
    items: Tensor
    weights: Tensor
    negatives: Tensor
    kept: Tensor


class Gradients(NamedTuple):
    """A micro-batch's summed loss and its gradients.

    ``users (B, d)`` per event, ``items (B + B·k, d)`` per positive, then per negative. ``p (B, d)`` and
    ``products (B, d)``, the gradient by ``p∘h``, are what h's gradient is made of.
    """

    loss: Tensor
    users: Tensor
    items: Tensor
    p: Tensor
    products: Tensor

    def h(self) -> Tensor:
        """Return h's gradient, ``(d,)``; computed when asked for, as h is frozen after ``fit``."""
        return (self.products * self.p).sum(dim=0)


def positive_only(p: Tensor, q: Tensor, h: Tensor, weights: Tensor) -> Gradients:
    """Return the gradients of ``-Σ w ln σ(x)``: each event's error to one, ``1 - σ(x)``.

    ``p``, ``q`` are ``(B, d)``, ``h (d,)``, ``weights (B,)``. Vinagre, Jorge, Gama 2014, "Fast incremental
    matrix factorization for recommendation with positive-only feedback", through the sigmoid of ``fit``.
    """
    ph = p * h  # (B, d)
    x = (ph * q).sum(dim=1)  # (B,)
    pull = (weights * (torch.sigmoid(x) - 1.0))[:, None]  # (B, 1)
    pulled = pull * q  # (B, d)
    return Gradients((weights * softplus(-x)).sum(), pulled * h, pull * ph, p, pulled)


def sampled(p: Tensor, q: Tensor, n: Tensor, h: Tensor, weights: Tensor, kept: Tensor) -> Gradients:
    """Return the gradients of binary cross-entropy with sampled negatives (He et al. 2017, eq. 7).

    ``p``, ``q``, ``h``, ``weights`` as above; ``n (B, k, d)`` are each event's negatives, ``kept (B, k)``.
    """
    positive = positive_only(p, q, h, weights)
    ph = p * h  # (B, d)
    y = torch.bmm(n, ph[:, :, None])[:, :, 0]  # (B, k)
    share = weights[:, None] * kept  # (B, k)
    push = share * torch.sigmoid(y)  # (B, k)
    products = positive.products + torch.bmm(push[:, None, :], n)[:, 0]  # (B, d)
    items = torch.empty(len(q) + n.shape[0] * n.shape[1], q.shape[1])  # filled in place: it is large
    items[: len(q)] = positive.items
    torch.mul(push[:, :, None], ph[:, None, :], out=items[len(q) :].view_as(n))
    return Gradients(positive.loss + (share * softplus(y)).sum(), products * h, items, p, products)


def softplus(x: Tensor) -> Tensor:
    """Return ``ln(1 + e^x)``, from operations that torch vectorises (its own took half of the training)."""
    return x.clamp(min=0.0) - torch.log(torch.sigmoid(x.abs()))


class GMFModel:
    """User rows P, item rows Q, output weights h and where newcomers' rows start; d = ``width``."""

    def __init__(self, width: int) -> None:
        self.users, self.items = Table(width), Table(width)
        self.h, self.h_squares = torch.ones(width), torch.zeros(width)
        self.newcomers = torch.zeros(2, width)  # a user's row, an item's row

    def gradients(self, batch: MicroBatch, weight_decay: float) -> Gradients:
        """Return the gradients of the loss plus L2 on the events' own rows (not on the negatives')."""
        p, q = self.users.take(batch.users), self.items.take(batch.items)  # (B, d)
        if batch.negatives.shape[1]:
            n = self.items.take(batch.negatives.flatten()).view(*batch.negatives.shape, -1)  # (B, k, d)
            made = sampled(p, q, n, self.h, batch.weights, batch.kept)
        else:
            made = positive_only(p, q, self.h, batch.weights)
        made.users.add_(p, alpha=weight_decay)
        made.items[: len(q)].add_(q, alpha=weight_decay)
        return made

    def moves(self, batch: MicroBatch, made: Gradients) -> tuple[Move, Move]:
        """Return how to move the touched rows of users and of items."""
        rows = torch.cat([batch.items, batch.negatives.flatten()])
        return self.users.move(batch.users, made.users), self.items.move(rows, made.items)

    def step(self, moves: tuple[Move, Move], rate: float, clip: float) -> tuple[list[Undo], int]:
        """Step the touched rows; returns [users, items] for :meth:`undo` and how many rows were clipped."""
        users, clipped_users = self.users.step(moves[0], rate, clip)
        items, clipped_items = self.items.step(moves[1], rate, clip)
        return [users, items], clipped_users + clipped_items

    def undo(self, steps: list[list[Undo]]) -> None:
        """Take steps back, the last one first."""
        for users, items in reversed(steps):
            self.users.undo(users)
            self.items.undo(items)

    def step_h(self, gradient: Tensor, rate: float) -> None:
        """Take one Adagrad step on h."""
        self.h_squares += gradient * gradient
        self.h -= rate * gradient / (self.h_squares + EPSILON).sqrt()

    def welcome(self, newcomers: Tensor) -> None:
        """Set where new rows start, ``(2, d)``, and move there the rows that no event has touched yet."""
        self.newcomers = newcomers
        for table, start in zip((self.users, self.items), newcomers, strict=True):
            table.values[: table.size] += start * (table.squares[: table.size] == 0)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return item vectors ``q·√|h| (m, d)`` and the mean user ``sign(h)·√|h|·p (d,)``; new memory.

        Their inner products are GMF's logits, and vectors of two items can be compared.
        """
        root = self.h.abs().sqrt()
        return self.items.used * root, self.users.mean_trained() * (self.h.sign() * root)

    def state(self) -> State:
        """Return every array, without the tables' spare memory."""
        tables = {"users": self.users, "items": self.items}
        values = {name: table.used for name, table in tables.items()}
        squares = {f"{name}_squares": table.squares[: table.size] for name, table in tables.items()}
        rest = {"h": self.h, "h_squares": self.h_squares, "newcomers": self.newcomers}
        return {name: tensor.numpy().copy() for name, tensor in (values | squares | rest).items()}

    def restore(self, state: State) -> None:
        """Take over what :meth:`state` gave."""
        tensors = {name: torch.from_numpy(np.array(array, dtype=np.float32)) for name, array in state.items()}
        for name, table in (("users", self.users), ("items", self.items)):
            table.restore(tensors[name], tensors[f"{name}_squares"])
        self.h, self.h_squares, self.newcomers = tensors["h"], tensors["h_squares"], tensors["newcomers"]
