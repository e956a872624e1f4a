"""Offline evaluation: the stream is replayed, and every so often a snapshot is cut and served from then on."""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from sluice.model import RecommenderModel
from sluice.routing import Routing
from sluice_cli.commands.offline_loop import OfflineLoop
from sluice_cli.commands.shell import InputError
from sluice_cli.datasets import Dataset


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. ``served`` and ``popularity`` map a metric to its mean over ``evaluated`` events."""

    dataset: str
    algorithm: str
    history: int
    streamed: int
    evaluated: int
    snapshots: int
    served: dict[str, float]
    popularity: dict[str, float]
    seconds: float

    def ratio(self, metric: str) -> float | None:
        """Return served / popularity; None where popularity scored nothing."""
        return self.served[metric] / self.popularity[metric] if self.popularity[metric] else None


def run(
    model: RecommenderModel,
    data: Dataset,
    folder: Path,
    split: float,
    every: int,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Evaluation:
    """Fit on the first ``split`` of ``data``, stream the rest, cutting and serving every ``every`` events.

    ``folder`` must not hold a trainer of this model yet; raises :class:`InputError` if it does, or if a part
    of the data would be empty.
    """
    began, at = time.monotonic(), int(split * len(data.interactions))
    history, rest = data.interactions[:at], data.interactions[at:]
    if not history or not rest:
        raise InputError(f"{data.name} has {len(data.interactions)} events, too few to split; give more")
    if (folder / "trainer" / model.key).exists():
        raise InputError(f"{folder} holds a trainer of {model.key} already; give --home an empty folder")
    with OfflineLoop(model, folder, cut_every=every) as loop:
        loop.start(history, data.items)
        served = [_serve_newest(loop)]
        for done in loop.stream(rest):
            if loop.catalog.entries()[-1].id != served[-1]:
                served.append(_serve_newest(loop))
            progress(done, len(rest))
    return _found(loop, data.name, (len(history), len(rest), len(served)), time.monotonic() - began)


def _serve_newest(loop: OfflineLoop) -> str:
    newest, before = loop.catalog.entries()[-1].id, loop.routing.read()
    epoch = before.epoch + 1 if before else 1
    routing = Routing(epoch=epoch, rollout="", stable=newest, candidate=None, weight=0, renewed=time.time())
    loop.routing.publish(routing)
    return newest


def _found(loop: OfflineLoop, dataset: str, counts: tuple[int, int, int], seconds: float) -> Evaluation:
    summary, metrics = loop.trainer.window.summary(), loop.trainer.window.METRICS
    return Evaluation(
        dataset=dataset,
        algorithm=loop.trainer.model.spec.algorithm.type.value,
        history=counts[0],
        streamed=counts[1],
        snapshots=counts[2],
        evaluated=int(summary["samples"]),
        served={metric: summary.get(metric, 0.0) for metric in metrics},
        popularity={metric: summary.get(f"popular:{metric}", 0.0) for metric in metrics},
        seconds=round(seconds, 3),
    )
