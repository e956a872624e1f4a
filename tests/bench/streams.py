"""The benches' data: public data sets as streams of rows, from the gzip files under SLUICE_DATA_DIR."""

import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sluice.encoder import RECENT_LIMIT, Rows
from sluice_trainer.learners.protocol import Interactions

Mask = NDArray[np.bool_]


class Stream(NamedTuple):
    """Interactions in time order as rows, numbered by first appearance; ``recent (n, 50)`` before each."""

    users: Rows
    items: Rows
    recent: Rows

    def take(self, start: int, stop: int) -> Interactions:
        """Return events ``start`` to ``stop``, each of weight 1."""
        recent = self.recent[start:stop]
        return Interactions(
            self.users[start:stop],
            self.items[start:stop],
            np.ones(len(recent), dtype=np.float32),
            recent,
            (recent >= 0).astype(np.float32),
            np.arange(start, start + len(recent), dtype=np.uint64),
        )

    def sizes(self, stop: int) -> tuple[int, int]:
        """Return how many users and items the first ``stop`` events name."""
        return int(self.users[:stop].max(initial=-1)) + 1, int(self.items[:stop].max(initial=-1)) + 1

    def learnable(self, start: int, stop: int) -> tuple[Interactions, int, int]:
        """Return what a learner's ``fit`` or ``learn`` takes."""
        return (self.take(start, stop), *self.sizes(stop))


def movielens_latest_small() -> Stream:
    """Return ratings >= 4 in time order: 48,580 events, 609 users, 6,298 items."""
    with opened("ml-latest-small", "ratings.csv.gz") as lines:
        next(lines)
        return _in_time_order(_numbers(lines, ","), least=4.0)


def movielens_100k() -> Stream:
    """Return ratings of 5 in time order: 21,201 events, 928 users, 1,172 items."""
    with opened("ml-100k", "u.data.gz") as lines:
        return _in_time_order(_numbers(lines, None), least=5.0)


def opened(name: str, file: str) -> gzip.GzipFile:
    """Open a data set's file; leaves with a sentence if it is not there."""
    folder = Path(os.environ.get("SLUICE_DATA_DIR", Path.home() / ".cache/sluice/data"))
    path = folder / name / file
    if not path.exists():
        raise SystemExit(f"{path} is missing; set SLUICE_DATA_DIR or run `sluice datasets fetch {name}`")
    return gzip.open(path)


def _numbers(lines: Iterator[bytes], separator: str | None) -> NDArray[np.float64]:
    return np.array([[float(cell) for cell in line.decode().split(separator)[:4]] for line in lines])


def _in_time_order(ratings: NDArray[np.float64], least: float) -> Stream:
    chosen = ratings[ratings[:, 2] >= least]
    chosen = chosen[np.argsort(chosen[:, 3], kind="stable")]
    users, items = numbered(chosen[:, 0]), numbered(chosen[:, 1])
    return Stream(users, items, recent_of(users, items))


def numbered(values: NDArray[np.float64]) -> Rows:
    """Return each value's number, counted by first appearance."""
    numbers: dict[float, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values.tolist()], dtype=np.int32)


def recent_of(users: Rows, items: Rows) -> Rows:
    """Return each event's items of the same user before it, newest first, padded with -1."""
    recent = np.full((len(users), RECENT_LIMIT), -1, dtype=np.int32)
    last: dict[int, list[int]] = {}
    for place, (user, item) in enumerate(zip(users.tolist(), items.tolist(), strict=True)):
        own = last.setdefault(user, [])
        recent[place, : len(own)] = own
        last[user] = [item, *own[: RECENT_LIMIT - 1]]
    return recent
