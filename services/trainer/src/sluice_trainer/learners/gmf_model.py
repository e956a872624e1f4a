"""Generalised matrix factorisation as tensors: tables that grow, the losses' gradients, sparse Adagrad.

The logit of user u and item i is ``Σ_k h_k p_uk q_ik`` (He et al. 2017, "Neural collaborative filtering",
eq. 9). Gradients are written out: they touch a few rows, and ``index_add_`` on one thread sums in a fixed
order, so that a replay is bit-equal.
"""

from collections.abc import Callable
from math import ceil
from typing import Final, NamedTuple

import torch
from torch import Tensor

EPSILON: Final = 1e-6
"""Keeps Adagrad's first step finite where a gradient is 0."""


class Undo(NamedTuple):
    """Rows of a table as they were: ``rows (r,)``, ``values (r, d)``, ``squares (r, d)``."""

    rows: Tensor
    values: Tensor
    squares: Tensor


class Table:
    """``size`` rows of ``d`` numbers, float32, and Adagrad's sums of squared gradients beside them.

    The memory behind them grows by a tenth at a time; rows that exist keep values and sums.
    """

    def __init__(self, width: int) -> None:
        self.size = 0
        self.values = torch.zeros(0, width)
        self.squares = torch.zeros(0, width)

    def grow(self, size: int, fresh: Callable[[int, int], Tensor]) -> None:
        """Grow to ``size`` rows; new ones are ``fresh(start, stop) (stop - start, d)``."""
        if size <= self.size:
            return
        if size > len(self.values):
            room = max(size, ceil(1.1 * len(self.values))) - len(self.values)
            space = torch.zeros(room, self.values.shape[1])
            self.values, self.squares = torch.cat([self.values, space]), torch.cat([self.squares, space])
        self.values[self.size : size] = fresh(self.size, size)
        self.squares[self.size : size] = 0
        self.size = size

    def step(self, rows: Tensor, gradients: Tensor, rate: float, clip: float) -> tuple[Undo, int]:
        """Take one Adagrad step (Duchi, Hazan, Singer 2011) on ``rows (n,)`` with ``gradients (n, d)``.

        A row that comes several times gets the sum, clipped to length ``clip``; no number of it moves by
        more than ``rate``. Returns what undoes the step and how many rows were clipped.
        """
        distinct, place = torch.unique(rows, return_inverse=True)
        total = torch.zeros(len(distinct), gradients.shape[1]).index_add_(0, place, gradients)  # (r, d)
        length = torch.linalg.vector_norm(total, dim=1, keepdim=True)  # (r, 1)
        total *= torch.clamp(clip / (length + EPSILON), max=1.0)
        before = Undo(distinct, self.values[distinct], self.squares[distinct])
        squares = before.squares + total * total
        self.squares[distinct] = squares
        self.values[distinct] = before.values - rate * total / (squares.sqrt() + EPSILON)
        return before, int((length > clip).sum())

    def undo(self, before: Undo) -> None:
        """Put rows back as they were."""
        self.values[before.rows], self.squares[before.rows] = before.values, before.squares


class Gradients(NamedTuple):
    """Gradients of a micro-batch's summed loss, and that loss.

    ``users (B, d)`` per event; ``items (B + M, d)`` per positive, then per negative; ``h (d,)``.
    """

    loss: Tensor
    users: Tensor
    items: Tensor
    h: Tensor


def positive_only(p: Tensor, q: Tensor, h: Tensor, weights: Tensor) -> Gradients:
    """Return the gradients of ``-Σ w ln σ(x)``: each event's error to one, ``1 - σ(x)``.

    ``p``, ``q`` are ``(B, d)``, ``h (d,)``, ``weights (B,)``. Vinagre, Jorge, Gama 2014, "Fast incremental
    matrix factorization for recommendation with positive-only feedback", with the logistic loss of fit.
    """
    ph = p * h  # (B, d)
    x = (ph * q).sum(dim=1)  # (B,)
    pull = (weights * (torch.sigmoid(x) - 1.0))[:, None]  # (B, 1)
    loss = (weights * torch.nn.functional.softplus(-x)).sum()
    return Gradients(loss, pull * q * h, pull * ph, (pull * q * p).sum(dim=0))


def sampled(p: Tensor, q: Tensor, n: Tensor, h: Tensor, weights: Tensor, negatives: float) -> Gradients:
    """Return the gradients of binary cross-entropy with ``negatives`` sampled negatives an event.

    ``p``, ``q`` are ``(B, d)``, ``n (M, d)`` are the negatives, shared by the micro-batch: each of the
    B x M pairs weighs ``negatives / M``, which costs one matrix product and has less variance than as
    many draws of an event's own. He et al. 2017, eq. 7.
    """
    positive = positive_only(p, q, h, weights)
    ph = p * h
    y = ph @ n.T  # (B, M)
    share = weights[:, None] * (negatives / len(n))
    push = share * torch.sigmoid(y)  # (B, M)
    pushed = push @ n  # (B, d)
    return Gradients(
        positive.loss + (share * torch.nn.functional.softplus(y)).sum(),
        positive.users + pushed * h,
        torch.cat([positive.items, push.T @ ph]),
        positive.h + (pushed * p).sum(dim=0),
    )
