"""Tables of trained rows: they grow, take sparse Adagrad steps and can take a step back.

Gradients come written out and touch a few rows; ``index_add_`` on one thread sums them in a fixed order,
so that a replay is bit-equal.
"""

from collections.abc import Callable
from math import ceil
from typing import Final, NamedTuple

import torch
from torch import Tensor

EPSILON: Final = 1e-6
"""Keeps Adagrad's step finite where a gradient is 0."""


class Undo(NamedTuple):
    """Rows of a table as they were: ``rows (r,) int64``, ``values (r, d)``, ``squares (r, d)``."""

    rows: Tensor
    values: Tensor
    squares: Tensor


class Table:
    """``size`` rows of ``d`` float32 and, beside them, Adagrad's sums of squared gradients.

    The memory behind them grows by a tenth at a time; rows that exist keep their values and sums.
    """

    def __init__(self, width: int) -> None:
        self.size = 0
        self.values = torch.zeros(0, width)
        self.squares = torch.zeros(0, width)

    def grow(self, size: int, fresh: Callable[[int, int], Tensor]) -> None:
        """Grow to ``size`` rows; the new ones are ``fresh(start, stop)``, ``(stop - start, d)``."""
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

        A row that comes several times gets the sum of its gradients, clipped to length ``clip``; no number
        of it moves by more than ``rate``. Returns what undoes the step and how many rows were clipped.
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

    @property
    def used(self) -> Tensor:
        """The rows without the spare memory, ``(size, d)``; a view."""
        return self.values[: self.size]

    def mean_trained(self) -> Tensor:
        """Return the mean of the rows that ever took a step, ``(d,)``; 0 if none did."""
        trained = self.squares[: self.size].sum(dim=1) > 0
        return self.used[trained].sum(dim=0) / max(1, int(trained.sum()))
