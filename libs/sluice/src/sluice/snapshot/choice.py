"""Chooses and builds the index of a part: exact where that is fast enough, else the cheapest that is faithful.

Up to 50,000 rows there is none: exact search takes 0.25 ms. Above, IVF: its effort is the smallest that finds
0.985 of the exact top 20 on sample queries, and it is taken if that costs at most a tenth of exact search.
Otherwise (vectors without clusters) HNSW is tried on 20,000 of the rows and, where that promises something,
built for all, up to 200,000 rows (100,000 take 14 s on one core). An index must at least halve the cost of
exact search, the cheapest wins; if there is none, the search stays exact.

Costs are counted, not timed, in rows of exact search: measured on one core, that reads a row in 10 ns, IVF in
15 (its cells lie apart), HNSW in 65 (random reads). So everything here is deterministic: counted, seeded, on
one thread.
"""

from collections.abc import Callable
from math import sqrt
from typing import Any, Final, NamedTuple

import numpy as np

from sluice.encoder import Matrix
from sluice.snapshot.fidelity import K, kth_scores, recall
from sluice.snapshot.index import FLAT, HNSW, IVF, library

FLAT_ROWS: Final = 50_000
TARGET: Final = 0.985
CHEAP: Final = 0.1
WORTHWHILE: Final = 0.5
HNSW_ROWS: Final = 200_000

_SEED: Final = 1234
_ITERATIONS: Final = 8
_ROWS_PER_CENTROID: Final = 64
_NEIGHBOURS: Final = 32
_CONSTRUCTION: Final = 64
_IVF_READ: Final = 1.5
_HNSW_READ: Final = 6.5
_HNSW_TRIAL: Final = 20_000
_MOST_CANDIDATES: Final = 4_096


class Choice(NamedTuple):
    """An index type with its parameters; ``index`` is Faiss' own, None for exact search.

    ``cost`` of a query is in rows of exact search, ``fidelity`` the recall of the exact top 20 on the sample.
    """

    kind: str
    parameters: dict[str, int]
    index: Any
    cost: float
    fidelity: float

    @property
    def centroids(self) -> Matrix | None:
        """The centroids ``(nlist, d)`` that the next unit may take over; None without."""
        if self.kind != IVF:
            return None
        quantizer = self.index.quantizer
        centroids: Matrix = quantizer.reconstruct_n(0, quantizer.ntotal)
        return centroids


def cells(rows: int) -> int:
    """Return nlist: the least power of two above √rows, so that it stays the same while a catalogue grows."""
    return 1 << int(np.ceil(np.log2(max(sqrt(rows), 1))))


def choose(matrix: Matrix, queries: Matrix, inherited: Matrix | None = None) -> Choice:
    """Return the index for ``matrix (n, d)``, judged by ``queries (Q, d)``.

    ``inherited`` are the centroids of the parent's index: taken if their shape fits and they still do.
    """
    exact = Choice(FLAT, {}, None, float(len(matrix)), 1.0)
    if len(matrix) <= FLAT_ROWS or not len(queries):
        return exact
    candidates: list[Choice] = []
    least = kth_scores(matrix, queries)
    for centroids in _centroids(matrix, inherited):
        ivf = _ivf(matrix, queries, least, centroids)
        if _pays(ivf, CHEAP * exact.cost):
            return ivf
        candidates.append(ivf)
    if len(matrix) <= HNSW_ROWS and _promising(matrix, queries):
        candidates.append(_hnsw(matrix, queries, least))
    worthwhile = [each for each in candidates if _pays(each, WORTHWHILE * exact.cost)]
    return min(worthwhile, key=lambda each: each.cost, default=exact)


def _pays(choice: Choice, cost: float) -> bool:
    return choice.fidelity >= TARGET and choice.cost <= cost


def _promising(matrix: Matrix, queries: Matrix) -> bool:
    """Return whether HNSW pays on a sample: a tenth of the time that building it for nothing would take."""
    sample = np.ascontiguousarray(matrix[:: max(1, len(matrix) // _HNSW_TRIAL)])
    return _pays(_hnsw(sample, queries, kth_scores(sample, queries)), WORTHWHILE * len(sample))


def _centroids(matrix: Matrix, inherited: Matrix | None) -> list[Matrix | None]:
    fits = inherited is not None and inherited.shape == (cells(len(matrix)), matrix.shape[1])
    return [inherited, None] if fits else [None]


def _ivf(matrix: Matrix, queries: Matrix, least: Matrix, centroids: Matrix | None) -> Choice:
    faiss = library()
    faiss.omp_set_num_threads(1)
    count, width = cells(len(matrix)), matrix.shape[1]
    quantizer = faiss.IndexFlatIP(width)
    index = faiss.IndexIVFFlat(quantizer, width, count, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.niter = _SEED, _ITERATIONS
    index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, _ROWS_PER_CENTROID
    if centroids is not None:
        quantizer.add(np.ascontiguousarray(centroids))
    index.train(matrix)  # does nothing where the quantizer has its centroids
    index.add(matrix)
    statistics = faiss.cvar.indexIVF_stats

    def measured(effort: int) -> tuple[float, float]:
        statistics.reset()
        scores, _ = index.search(queries, K, params=faiss.SearchParametersIVF(nprobe=effort))
        return recall(scores, least), count + _IVF_READ * statistics.ndis / len(queries)

    effort, fidelity, cost = _smallest(measured, 1, count // 2)
    return Choice(IVF, {"nlist": count, "nprobe": effort}, index, cost, fidelity)


def _hnsw(matrix: Matrix, queries: Matrix, least: Matrix) -> Choice:
    faiss = library()
    faiss.omp_set_num_threads(1)
    index = faiss.IndexHNSWFlat(matrix.shape[1], _NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = _CONSTRUCTION
    index.add(matrix)
    statistics = faiss.cvar.hnsw_stats

    def measured(effort: int) -> tuple[float, float]:
        statistics.reset()
        scores, _ = index.search(queries, K, params=faiss.SearchParametersHNSW(efSearch=effort))
        return recall(scores, least), _HNSW_READ * statistics.ndis / len(queries)

    effort, fidelity, cost = _smallest(measured, K, _MOST_CANDIDATES)
    parameters = {"M": _NEIGHBOURS, "efConstruction": _CONSTRUCTION, "efSearch": effort}
    return Choice(HNSW, parameters, index, cost, fidelity)


def _smallest(
    measured: Callable[[int], tuple[float, float]], first: int, most: int
) -> tuple[int, float, float]:
    """Return the smallest effort that reaches the target, with its fidelity and cost: doubled, then halved."""
    effort = first
    while (outcome := measured(effort))[0] < TARGET and effort < most:
        effort = min(2 * effort, most)
    best, low = (effort, *outcome), effort // 2 + 1 if effort > first else effort
    while low < best[0] and outcome[0] >= TARGET:
        middle = (low + best[0]) // 2
        trial = measured(middle)
        if trial[0] >= TARGET:
            best = (middle, *trial)
        else:
            low = middle + 1
    return best
