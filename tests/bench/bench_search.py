"""One search over HTTP at 10,000 and 100,000 items x 64, beside the same in process and beside bare Faiss.

A search: encode up to 20 recent items, find ten without 200 excluded. *Faiss alone* is the search of a flat index
with the query ready and nothing excluded. One worker of four threads; the load comes from a process of its own.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import faiss
import load
import numpy as np
import report
from searching import MODEL, Data, Pod

from sluice.encoder import RecentInteraction
from sluice.snapshot.unit import Unit


def timed(search: Callable[[int], object], count: int, turns: int) -> tuple[float, float, float]:
    """Return calls a second and p50 and p99 in milliseconds."""
    taken = []
    for number in range(count * turns):
        began = time.perf_counter()
        search(number % count)
        taken.append(time.perf_counter() - began)
    p50, p99 = np.percentile(taken[count:] or taken, [50, 99]) * 1e3
    return 1e3 / p50, p50, p99


def in_process(unit: Unit, data: Data) -> Callable[[int], object]:
    """Return the whole search without HTTP."""
    asked = [
        ([RecentInteraction(recent["item_id"]) for recent in each["recent"]], each["exclude"])
        for each in data.asked(unit.id)
    ]
    return lambda user: unit.recommend(asked[user][0], 10, asked[user][1])


def bare(unit: Unit, data: Data) -> Callable[[int], object]:
    """Return the search of a flat index alone."""
    weights = np.ones(data.recent.shape, dtype=np.float32)
    queries = unit.encode_rows(data.recent, weights).vectors
    assert queries is not None
    index = faiss.IndexFlatIP(data.matrix.shape[1])
    index.add(data.matrix)
    return lambda user: index.search(queries[user : user + 1], 10)


def rows(count: int, seconds: float) -> list[tuple[object, ...]]:
    """Return the table rows of one size."""
    data, turns = Data(count), max(2, int(seconds * 4))
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        pod = Pod(Path(folder))
        made, _ = pod.cut("s1", data.content())
        unit = Unit.open(pod.home.snapshots(MODEL) / "s1")
        name = f"{count:,} {made.parts['items'].index}"
        measured = [
            (f"{name}, Faiss alone (flat)", *timed(bare(unit, data), len(data.recent), turns)),
            (f"{name}, in process", *timed(in_process(unit, data), len(data.recent), turns)),
        ]
        with pod.serving("s1"):
            for connections in (1, 8):
                figures = load.in_own_process(pod.port, connections, seconds, data.targets("s1"))
                assert set(figures.statuses) == {"200"}, figures
                label = f"{name}, HTTP, {connections} connection{'s' * (connections > 1)}"
                measured.append((label, figures.rate, figures.p50_ms, figures.p99_ms))
    return [(label, f"{rate:,.0f}", f"{p50:.2f}", f"{p99:.2f}") for label, rate, p50, p99 in measured]


def main() -> None:
    """Print the table; ``--quick`` measures for two seconds each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    seconds = 2.0 if parser.parse_args().quick else 10.0
    report.header(report.command())
    table = [row for count in (10_000, 100_000) for row in rows(count, seconds)]
    report.table(("search", "searches/s", "p50 ms", "p99 ms"), table)


if __name__ == "__main__":
    main()
