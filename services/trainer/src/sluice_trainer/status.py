"""What a trainer tells over HTTP: ``/healthz``, ``/readyz``, ``/status`` (JSON), ``/metrics``."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sluice import instruments, metrics
from sluice import status as server
from sluice.errors import SluiceError
from sluice.events import Partition
from sluice.following import NO_MODEL
from sluice.instruments import family
from sluice.metrics import Process
from sluice.topics import topics_of

if TYPE_CHECKING:
    from sluice_trainer.trainer import Trainer  # brings torch, for which a process without a model has no use

WAIT_S: Final = 1.0
"""How long a scrape waits for the log at the most."""


class Ends:
    """The log's end offsets for who must not wait for the log: as they are, or as they last were known.

    ``ask`` is called in a thread of its own, by one at a time, however many want to know and however long the log
    takes to say that it is away.
    """

    def __init__(self, ask: Callable[[], Mapping[Partition, int]]) -> None:
        self._ask, self._free = ask, threading.Semaphore()
        self._known: Mapping[Partition, int] | None = None

    def now(self) -> Mapping[Partition, int] | None:
        """Return the newest that is known after ``WAIT_S`` at the most; None if the log never answered yet."""
        ends_at = time.monotonic() + WAIT_S
        if self._free.acquire(timeout=WAIT_S):
            asking = threading.Thread(target=self._refresh, daemon=True, name="ends")
            asking.start()
            asking.join(max(0.0, ends_at - time.monotonic()))
        return self._known

    def _refresh(self) -> None:
        try:
            self._known = self._ask()
        except SluiceError:  # the loop meets it too, and tells of it
            return
        finally:
            self._free.release()


def describe(trainer: "Trainer", ends: Mapping[Partition, int] | None) -> dict[str, Any]:
    """Return the position and quality of a trainer as JSON values; ``ends`` are the log's end offsets, if known.

    ``rejected`` could not be read, ``refused`` could not be learned; ``lag`` = events not yet learned, None if
    nobody knows, ``lags`` the same by partition number.
    """
    position, known = trainer.position, ends or {}
    lags = {str(part.number): end - position.offsets.get(part.number, 0) for part, end in known.items()}
    return {
        "model": trainer.model.key,
        "algorithm": trainer.model.spec.algorithm.type.value,
        "topic": topics_of(trainer.model.spec.source.name).interactions,
        "fitted": position.fitted,
        "interactions": position.interactions,
        "duplicates": position.duplicates,
        "rejected": position.rejected,
        "refused": position.refused,
        "forgets": position.forgets,
        "items": len(trainer.items),
        "users": len(trainer.users),
        "snapshots": position.snapshots,
        "newest": position.cut_snapshot,
        "offsets": {str(part): offset for part, offset in position.offsets.items()},
        "lag": None if ends is None else sum(lags.values()),
        "lags": lags,
        "quality": trainer.window.summary(),
    }


class Exposition(Collector):
    """Turns :func:`describe` into metrics at each scrape, so that a replay counts nothing twice."""

    def __init__(self, status: Callable[[], dict[str, Any]]) -> None:
        self._status = status

    def collect(self) -> list[Metric]:
        """Return the trainer's state as metrics."""
        status = self._status()
        topic = status.get("topic")
        if topic is None:  # there is no trainer yet
            return []
        return [
            family(metrics.EVENTS_LEARNED, {(): status["interactions"]}),
            family(metrics.EVALUATED, {(): status["quality"].get("samples", 0)}),
            family(
                metrics.EVENTS_REJECTED,
                {(topic, "unreadable"): status["rejected"], (topic, "not-finite"): status["refused"]},
            ),
            family(metrics.EVENTS_REPEATED, {(topic,): status["duplicates"]}),
            family(metrics.SNAPSHOTS_CUT, {(): status["snapshots"]}),
            family(metrics.LAG, {(topic, part): lag for part, lag in status["lags"].items()}),
            family(metrics.ROWS, {(entity,): status[entity] for entity in ("items", "users")}),
            family(metrics.QUALITY, _scores(status["quality"])),
        ]


def _scores(quality: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    """Return labels and value of each score; one is called ``window:popular:recall@20`` or the like."""
    return {_labels(*name.split(":")): value for name, value in quality.items() if name != "samples"}


def _labels(*words: str) -> tuple[str, str, str]:
    contender = "popular" if "popular" in words else "served"
    return words[-1], contender, "newest" if "window" in words else "all"


def registry_of(status: Callable[[], dict[str, Any]]) -> CollectorRegistry:
    """Return everything a trainer exposes: its state, and the process's instruments."""
    return instruments.with_instruments(Exposition(status))


class Page:
    """The status of a process from its first moment on: until :meth:`show` there is no trainer to describe."""

    def __init__(self) -> None:
        self._describe: Callable[[], dict[str, Any]] = lambda: {"model": None, "waiting": NO_MODEL}
        self._served = False
        self.registry = registry_of(self)
        instruments.introduce(Process.TRAINER)

    def __call__(self) -> dict[str, Any]:
        """Return the status now."""
        return self._describe()

    def show(self, describe: Callable[[], dict[str, Any]]) -> None:
        """Describe a trainer from now on."""
        self._describe = describe

    def serve(self, port: int, host: str) -> None:
        """Start answering, unless it does; see :func:`serve`."""
        if not self._served:
            serve(port, self, host, registry=self.registry)
            self._served = True


def serve(
    port: int,
    status: Callable[[], dict[str, Any]],
    host: str = "127.0.0.1",
    *,
    registry: Collector | None = None,
) -> server.StatusServer:
    """Start answering on ``port`` (0 = any); raises :class:`~sluice.errors.InvalidSetting` if it is taken."""
    return server.serve(host, port, status, registry=registry or registry_of(status))
