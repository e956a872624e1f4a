"""Tables of trained rows: they grow, take sparse Adagrad steps and can take a step back.

Gradients come written out and touch a few rows; ``index_add_`` on one thread sums them in a fixed order,
so that a replay is bit-equal.
"""

from collections.abc import Callable
from math import ceil
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sluice_trainer.growing import Grown

EPSILON: Final = 1e-12
"""Added to Adagrad's sum of squares, so that a step stays finite where every gradient was 0."""


class Move(NamedTuple):
    """Distinct ``rows (r,)``, their summed gradients ``total (r, d)`` and these' ``length (r, 1)``."""

    rows: Tensor
    total: Tensor
    length: Tensor


class Undo(NamedTuple):
    """Rows of a table as they were: ``rows (r,) int64``, ``values (r, d)``, ``squares (r, 1)``."""

    rows: Tensor
    values: Tensor
    squares: Tensor


class Table:
    """``size`` rows of ``d`` float32 and, beside each, Adagrad's sum of mean squared gradients.

    Growing copies nothing; rows that exist keep their values and sums.
    """

    def __init__(self, width: int) -> None:
        self.size = 0
        self._values, self._squares = Grown(width, np.float32), Grown(1, np.float32)
        self.values = torch.zeros(0, width)
        self.squares = torch.zeros(0, 1)
        self._places = torch.zeros(0, dtype=torch.int64)  # scratch of :meth:`_distinct`

    def grow(self, size: int, fresh: Callable[[int, int], Tensor]) -> None:
        """Grow to ``size`` rows; the new ones are ``fresh(start, stop)``, ``(stop - start, d)``."""
        if size <= self.size:
            return
        known = self.size
        self._view(size)
        self.values[known:size] = fresh(known, size)
        self.squares[known:size] = 0

    def _view(self, size: int) -> None:
        """Have ``size`` rows."""
        self._values.grow(size)
        self._squares.grow(size)
        self.values = torch.from_numpy(self._values.rows)
        self.squares = torch.from_numpy(self._squares.rows)
        if size > len(self._places):
            self._places = torch.zeros(max(size, ceil(1.1 * len(self._places))), dtype=torch.int64)
        self.size = size

    def move(self, rows: Tensor, gradients: Tensor) -> Move:
        """Sum the ``gradients (n, d)`` of ``rows (n,)``, which may repeat; changes nothing yet."""
        distinct, place = self._distinct(rows)
        total = torch.zeros(len(distinct), gradients.shape[1]).index_add_(0, place, gradients)
        return Move(distinct, total, torch.linalg.vector_norm(total, dim=1, keepdim=True))

    def step(self, move: Move, rate: float, clip: float) -> tuple[Undo, int]:
        """Take one Adagrad step (Duchi, Hazan, Singer 2011) with one sum of squares a row.

        A summed gradient longer than ``clip`` is cut to it, and no row moves further than ``rate · √d``
        however often it came. Returns what undoes the step and how many rows were clipped.
        """
        rows, total, length = move
        clipped = 0
        if length.numel() and float(length.max()) > clip:
            clipped = int((length > clip).sum())
            total = total * torch.clamp(clip / length, max=1.0)
            length = length.clamp(max=clip)
        before = Undo(rows, self.take(rows), self.squares.index_select(0, rows))
        squares = torch.addcmul(before.squares, length, length, value=1.0 / total.shape[1])
        self.squares.index_copy_(0, rows, squares)
        scale = squares.add_(EPSILON).rsqrt_()
        self.values.index_copy_(0, rows, torch.addcmul(before.values, total, scale, value=-rate))
        return before, clipped

    def _distinct(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distinct rows ``(r,)`` and each row's place among them ``(n,)``, without sorting.

        Every event writes its number at its row; whoever stays there stands for that row.
        """
        numbers = torch.arange(len(rows))
        self._places.index_copy_(0, rows, numbers)
        standing = self._places.index_select(0, rows)  # (n,)
        chosen = standing == numbers
        return rows[chosen], (torch.cumsum(chosen, dim=0) - 1).index_select(0, standing)

    def take(self, rows: Tensor) -> Tensor:
        """Return a copy of ``rows (n,)``, ``(n, d)``; twice as fast as indexing."""
        return self.values.index_select(0, rows)

    def undo(self, before: Undo) -> None:
        """Put rows back as they were."""
        self.values.index_copy_(0, before.rows, before.values)
        self.squares.index_copy_(0, before.rows, before.squares)

    def reset(self, row: int, value: Tensor) -> None:
        """Make ``row`` one that never took a step, with ``value (d,)``."""
        self.values[row], self.squares[row] = value, 0.0

    def restore(self, values: Tensor, squares: Tensor) -> None:
        """Become a copy of ``values (n, d)`` and ``squares (n, 1)``."""
        self._values.restore(values.numpy())
        self._squares.restore(squares.numpy())
        self._view(len(values))

    @property
    def used(self) -> Tensor:
        """The rows without the spare memory, ``(size, d)``; a view."""
        return self.values[: self.size]

    def mean_trained(self) -> Tensor:
        """Return the mean of the rows that ever took a step, ``(d,)``; 0 if none did."""
        trained = self.squares[: self.size].sum(dim=1) > 0
        return self.used[trained].sum(dim=0) / max(1, int(trained.sum()))
