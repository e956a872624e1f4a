"""What the overlay and filters cost: memory, replay, and searches over exact and indexed units.

    .venv/bin/python tests/bench/bench_filters.py [--items 100000] [--rows 10000 100000] [--seconds 1]

Searches are in process (``sluice_faiss.search.search``), k = 10 with 100 excluded items. A filter's words are
on a share of the items: on random ones, or on whole clusters of the vectors, where an index errs most.
``indexed`` says what the search would find and cost if the filter were a mask over the index instead of
exact scoring of the rows it leaves, which is what the service does up to ``FEW`` of the rows.
"""

import argparse
import os

os.environ["OMP_NUM_THREADS"] = "1"

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import report

from sluice.encoder import MeanEncoder
from sluice.events import Partition, StoredRecord
from sluice.records import Item, encode
from sluice.snapshot import writer
from sluice.snapshot.content import UnitContent, VectorsContent
from sluice.snapshot.unit import Unit
from sluice_faiss.bound import FEW, Bound
from sluice_faiss.live import Live
from sluice_faiss.search import Recent, Search, search

WIDTH, CLUSTERS, K = 64, 256, 10
SHARES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.9)
PARTITION = Partition("shop.items", 0)
ABOUT = {
    "id": "u", "model": "default.home", "parent": None, "algorithm": "GMF", "parameters": {}, "spec_hash": "x",
    "seed": 0, "code_version": "0", "created": 0.0, "offsets": {}, "interactions": 0, "metrics": {},
}  # fmt: skip


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--items", type=int, default=100_000)
    arguments.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    arguments.add_argument("--seconds", type=float, default=1.0)
    options = arguments.parse_args()
    report.header(report.command())
    measure_memory(options.items)
    for rows in options.rows:
        measure_searches(rows, options.seconds)


def measure_memory(items: int) -> None:
    """Fill one overlay and tell what an item costs."""
    chance, live, seconds = random.Random(1), Live(items), 0.0
    live.overlay.apply([])
    before = resident()
    for batch in batches(items):
        records = [record(catalogue_item(chance, number)) for number in batch]
        started = time.perf_counter()
        live.overlay.apply(records)
        seconds += time.perf_counter() - started
    del records
    report.table(
        ("items", "words an item", "bytes an item", "items/s read"),
        [(items, 10, round((resident() - before) / items), round(items / seconds))],
    )


def batches(items: int) -> Iterator[range]:
    """Split the numbers below ``items``."""
    for first in range(0, items, 1_000):
        yield range(first, min(first + 1_000, items))


def resident() -> int:
    """Return this process's resident memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def catalogue_item(chance: random.Random, number: int) -> Item:
    """Return an item with ten words, one of them its own."""
    features = [
        f"{name}:{chance.randrange(most)}" for name, most in (("genre", 40), ("tag", 1_000), ("brand", 5_000))
    ]
    attributes = {name: chance.randrange(most) for name, most in (("price", 500), ("year", 75), ("size", 12))}
    return Item(
        item_id=f"item-{number}",
        features=(*features, f"tag:{1_000 + chance.randrange(1_000)}"),
        attributes={
            **attributes,
            "lang": chance.choice(["en", "de"]),
            "hit": chance.random() < 0.1,
            "sku": number,
        },
    )


def record(item: Item) -> StoredRecord:
    """Return an item as the log gives it."""
    return StoredRecord(PARTITION, 0, 0, item.item_id.encode(), encode(item))


def measure_searches(rows: int, seconds: float) -> None:
    """Compare searches without overlay, with one, and with filters."""
    chance = np.random.default_rng(7)
    cluster = chance.integers(0, CLUSTERS, rows)
    matrix = chance.normal(size=(CLUSTERS, WIDTH))[cluster] + 0.4 * chance.normal(size=(rows, WIDTH))
    matrix = (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)
    words: list[list[str]] = [[] for _ in range(rows)]
    for share in SHARES:
        for row in np.flatnonzero(chance.random(rows) < share):
            words[row].append(f"random:{share}")
        for row in np.flatnonzero(np.isin(cluster, np.arange(max(1, round(share * CLUSTERS))))):
            words[row].append(f"cluster:{share}")
    unit = written(matrix)
    bare, live = Live().bind(unit), Live()
    for batch in batches(rows):
        live.overlay.apply(
            [
                record(Item(item_id=f"i{row}", features=tuple(words[row]), available=row % 20 > 0))
                for row in batch
            ]
        )
    bound = live.bind(unit)
    masked = Bound(unit, live.overlay, live.forgotten, few=0)
    masked.refresh()
    order = np.argsort(cluster, kind="stable")
    liked = chance.integers(0, rows, 200)  # a user's items lie together, as in the clusters that users make
    requests = [
        request(order[np.clip(place + np.arange(20), 0, rows - 1)], chance.integers(0, rows, 100))
        for place in liked
    ]
    print(f"\n{rows} rows x {WIDTH}, index {unit.manifest.parts['items'].index}, FEW = {FEW}")
    table = [("no overlay", "", rows, *timed(bare, requests, None, seconds), "", "", "")]
    table.append(
        ("5 % unavailable", "", round(0.95 * rows), *timed(bound, requests, None, seconds), "", "", "")
    )
    for kind in ("random", "cluster"):
        for share in SHARES:
            word = f"{kind}:{share}"
            exact = timed(bound, requests, word, seconds)
            by_index = timed(masked, requests, word, seconds)
            recall = agreement(unit, live, masked, requests[:100], word)
            table.append((kind, share, len(live.overlay.matching(parse(word))), *exact, *by_index, recall))
    report.table(
        (
            "filter",
            "share",
            "rows left",
            "p50 ms",
            "p99 ms",
            "indexed p50 ms",
            "indexed p99 ms",
            "its recall",
        ),
        table,
    )


def parse(word: str) -> Any:
    """Return the filter of one word."""
    from sluice import filters

    return filters.parse(word)


def written(matrix: Any) -> Unit:
    """Write and open a unit."""
    folder = Path(tempfile.mkdtemp(prefix="bench-filters-")) / "u"
    ids = [f"i{row}" for row in range(len(matrix))]
    part = VectorsContent(identifiers=ids, matrix=matrix)
    content = UnitContent(parts={"items": part}, encoder=MeanEncoder(matrix.mean(axis=0), decay=0.9))
    writer.write(folder, content, ABOUT)
    return Unit.open(folder)


def request(recent: Any, excluded: Any) -> Search:
    """Return one user's request."""
    return Search(
        snapshot="u",
        recent=[Recent(item_id=f"i{row}") for row in recent],
        exclude=[f"i{row}" for row in excluded],
        k=K,
    )


def timed(bound: Bound, requests: list[Search], word: str | None, seconds: float) -> tuple[float, float]:
    """Return median and 99th percentile in milliseconds."""
    asked = [with_filter(each, word) for each in requests]
    run: Callable[[int], Any] = lambda turn: search(bound, asked[turn % len(asked)])  # noqa: E731
    for turn in range(20):
        run(turn)
    took, end, turn = [], time.perf_counter() + seconds, 0
    while (started := time.perf_counter()) < end:
        run(turn)
        took.append(time.perf_counter() - started)
        turn += 1
    return statistics.median(took) * 1e3, sorted(took)[int(0.99 * len(took))] * 1e3


def with_filter(asked: Search, word: str | None) -> Search:
    """Return the request with a filter."""
    return Search(snapshot="u", recent=asked.recent, exclude=asked.exclude, filter=word, k=asked.k)


def agreement(unit: Unit, live: Live, masked: Bound, requests: list[Search], word: str) -> float:
    """Return which part of the exact answers ``masked`` finds."""
    exact = Bound(unit, live.overlay, live.forgotten, few=len(unit.items.ids))
    exact.refresh()
    found = total = 0
    for each in requests:
        wanted = ids(exact, with_filter(each, word))
        found += len(wanted & ids(masked, with_filter(each, word)))
        total += len(wanted)
    return found / max(total, 1)


def ids(bound: Bound, asked: Search) -> set[str]:
    """Return what a search finds."""
    answer = search(bound, asked)
    assert answer is not None
    return {each.item_id for each in answer.items}


if __name__ == "__main__":
    main()
