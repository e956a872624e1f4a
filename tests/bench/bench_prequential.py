"""Prequential recall: every event is scored before it is learned; popularity on the same events.

GMF is scored as it is served: a snapshot is cut every 3,000 events and serves from 2,000 events after its
cut (rollout), the first one at once. Popularity is live: it counts every event the moment it came.
CoVisitation runs over the whole stream, learned and cut every 100 events.
"""

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import report
import streams
import torch
from numpy.typing import NDArray

from sluice.snapshot import ids, parts
from sluice.snapshot.content import UnitContent, VectorsContent
from sluice_trainer.evaluation import MISS, rank
from sluice_trainer.learners.covisitation import CoVisitation
from sluice_trainer.learners.gmf import GMF
from sluice_trainer.learners.protocol import Learner

CUT_EVERY, ROLLOUT, LIVE_EVERY = 3000, 2000, 100


class Served(NamedTuple):
    """A snapshot's part and encoder, and how many items it knows."""

    part: parts.VectorsPart | parts.NeighboursPart
    content: UnitContent
    items: int

    def scores(self, stream: streams.Stream, start: int, stop: int) -> NDArray[np.float32]:
        """Return all scores for events ``start`` to ``stop``, ``(n, items)``."""
        recent = np.where(stream.recent[start:stop] < self.items, stream.recent[start:stop], -1)
        matrix = self.part.matrix if isinstance(self.part, parts.VectorsPart) else None
        weights = (recent >= 0).astype(np.float32)
        return self.part.scores(self.content.encoder.encode(recent, weights, matrix))


def cut(learner: Learner, items: int) -> Served:
    """Return what serving would load, without the files."""
    content = learner.content([str(row) for row in range(items)])
    part = content.parts["items"]
    id_map = ids.IdMap(ids.build(part.identifiers))
    if isinstance(part, VectorsContent):
        norms = np.linalg.norm(part.matrix, axis=1)
        return Served(parts.VectorsPart(id_map, part.matrix, norms, None), content, items)
    return Served(parts.NeighboursPart(id_map, part.rows, part.similarities), content, items)


class Prequential:
    """Ranks of the served and of popularity, over the events evaluated so far."""

    def __init__(self, stream: streams.Stream, start: int) -> None:
        users, items = stream.sizes(len(stream.users))
        self.stream, self.place = stream, start
        self.seen = np.zeros((users, items), dtype=bool)
        self.seen[stream.users[:start], stream.items[:start]] = True
        self.counts = np.bincount(stream.items[:start], minlength=items).astype(np.float32)
        self.served_ranks: list[int] = []
        self.popular_ranks: list[int] = []
        self.known: list[bool] = []

    def score(self, served: Served, stop: int) -> None:
        """Score the events up to ``stop`` with one snapshot."""
        for start in range(self.place, stop, 500):
            end = min(start + 500, stop)
            for place, scores in enumerate(served.scores(self.stream, start, end), start):
                self._event(place, scores)
        self.place = stop

    def _event(self, place: int, scores: NDArray[np.float32]) -> None:
        user, item = int(self.stream.users[place]), int(self.stream.items[place])
        if self.stream.recent[place, 0] >= 0 and self.counts[item] > 0 and not self.seen[user, item]:
            seen = np.flatnonzero(self.seen[user])
            self.known.append(item < len(scores))
            self.served_ranks.append(_rank(scores, item, seen))
            self.popular_ranks.append(_rank(self.counts, item, seen))
        self.seen[user, item] = True
        self.counts[item] += 1

    def row(self, name: str, k: int, seconds: float) -> tuple[object, ...]:
        """Return the table's row. Events whose item the snapshot lacks are left out, then counted as missed."""
        served, popular, known = (
            np.array(self.served_ranks),
            np.array(self.popular_ranks),
            np.array(self.known),
        )
        recall, beside = float((served[known] <= k).mean()), float((popular[known] <= k).mean())
        ratio = f"{recall / beside:.2f}x"
        missed, plain = float((served <= k).mean()), float((popular <= k).mean())
        return name, k, int(known.sum()), recall, beside, ratio, len(known), missed, plain, f"{seconds:.1f}"


COLUMNS = ("", "k", "evaluated", "recall", "popular", "ratio", "all", "lacked=miss", "popular", "learn s")


def _rank(scores: NDArray[np.float32], item: int, seen: NDArray[np.intp]) -> int:
    if item >= len(scores):
        return MISS
    seen = seen[seen < len(scores)]
    return int(rank(scores[None, :], np.array([item]), (np.zeros(len(seen), dtype=np.intp), seen))[0])


def as_served(stream: streams.Stream, learner: Learner, stop: int) -> tuple[Prequential, float]:
    """Run the last 30 %: fit on the first 70 %, then learn, cut, serve; returns seconds of the fit too."""
    start = int(len(stream.users) * 0.7)
    began = time.perf_counter()
    learner.fit(*stream.learnable(0, start))
    seconds = time.perf_counter() - began
    served, measured = cut(learner, stream.sizes(start)[1]), Prequential(stream, start)
    for place in range(start, stop, CUT_EVERY):
        end = min(place + CUT_EVERY, stop)
        for batch in range(place, end, 500):
            learner.learn(*stream.learnable(batch, min(batch + 500, end)))
        measured.score(served, min(end + ROLLOUT, stop))
        served = cut(learner, stream.sizes(end)[1])
    return measured, seconds


def live(stream: streams.Stream, learner: Learner, stop: int) -> tuple[Prequential, float]:
    """Run the whole stream, learning and cutting every 100 events."""
    measured, seconds = Prequential(stream, 0), 0.0
    learner.fit(*stream.learnable(0, 0))
    for place in range(0, stop, LIVE_EVERY):
        end = min(place + LIVE_EVERY, stop)
        measured.score(cut(learner, stream.sizes(place)[1]), end)
        began = time.perf_counter()
        learner.learn(*stream.learnable(place, end))
        seconds += time.perf_counter() - began
    return measured, seconds


def main() -> None:
    """Print the table; ``--quick`` takes a fifth of each stream."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    report.header(report.command())
    small, hundred = streams.movielens_latest_small(), streams.movielens_100k()
    runs: list[tuple[str, int, streams.Stream, Learner, Callable[..., tuple[Prequential, float]], float]] = [
        *(
            (
                f"GMF, last 30 % of ml-latest-small, seed {n}",
                20,
                small,
                GMF.from_parameters({}, n),
                as_served,
                0.8,
            )
            for n in ((1,) if quick else (1, 2, 3))
        ),
        ("CoVisitation, ml-100k", 10, hundred, CoVisitation.from_parameters({}, 1), live, 0.2),
        ("CoVisitation, ml-latest-small", 20, small, CoVisitation.from_parameters({}, 1), live, 0.2),
    ]
    rows = []
    for name, k, stream, learner, run, share in runs:
        stop = int(len(stream.users) * (share if quick else 1.0))
        measured, seconds = run(stream, learner, stop)
        rows.append(measured.row(name, k, seconds))
    report.table(COLUMNS, rows)


if __name__ == "__main__":
    main()
