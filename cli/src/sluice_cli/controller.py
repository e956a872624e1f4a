"""The controller process of the local mode: the rollout over processes instead of pods."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Annotated

import structlog
from msgspec import Meta

from sluice import instruments, logs, models, settings, statsd, status
from sluice.catalog import CatalogEntry
from sluice.embedded.home import Home
from sluice.embedded.models import EmbeddedCatalog, EmbeddedEvidence, EmbeddedRouting
from sluice.errors import Conflict, SluiceError, SnapshotRefused, StaleEpoch, StorageUnavailable
from sluice.metrics import Process
from sluice.model import RecommenderModel
from sluice.snapshot.entry import path_of
from sluice.snapshot.verify import verify
from sluice_cli.fleet import LocalFleet
from sluice_operator.controller import Controller
from sluice_operator.embedded import EmbeddedRollout
from sluice_operator.exposition import CountedNotes, RolloutExposition
from sluice_operator.rollout.state import RolloutState

_LOG = structlog.get_logger()


class ControllerSettings(settings.Settings, frozen=True, kw_only=True):
    """Settings of the local controller."""

    interval_seconds: Annotated[float, Meta(gt=0, description="Time between two passes, in seconds.")] = 0.25
    metrics_port: Annotated[settings.Port, Meta(description="Port of health and metrics; 0 = none.")] = 0
    metrics_host: Annotated[str, Meta(description="Address of health and metrics.")] = "127.0.0.1"


class VerifiedEntries:
    """Checks each snapshot of the catalog once: files against manifest, manifest against catalog."""

    def __init__(self) -> None:
        self._known: dict[str, bool] = {}

    def __call__(self, entry: CatalogEntry) -> bool:
        """Return whether a snapshot is sound; one that cannot be read now is asked for again."""
        if entry.id not in self._known:
            try:
                self._known[entry.id] = self._check(entry)
            except StorageUnavailable as error:
                _LOG.warning("snapshot cannot be read now", snapshot=entry.id, reason=str(error))
                return False
        return self._known[entry.id]

    def _check(self, entry: CatalogEntry) -> bool:
        try:
            verify(path_of(entry), entry.digest)
        except SnapshotRefused as error:
            _LOG.error("snapshot refused", snapshot=entry.id, reason=str(error))
            return False
        return True


def create(configured: ControllerSettings, model: RecommenderModel) -> Controller:
    """Wire the controller to the embedded adapters and the local fleet."""
    home = Home(configured.home_path)
    database, rollout = home.model(model.key), EmbeddedRollout(home.rollout(model.key))
    return Controller(
        model.spec,
        status=rollout,
        commands=rollout,
        notes=CountedNotes(rollout, model.key),
        fleet=LocalFleet(configured.home_path),
        catalog=EmbeddedCatalog(database),
        evidence=EmbeddedEvidence(database),
        routing=EmbeddedRouting(database),
        verified=VerifiedEntries(),
    )


def run(reconcile: Callable[[float], RolloutState], interval_s: float, stopping: threading.Event) -> None:
    """Reconcile every ``interval_s`` until ``stopping`` is set; a failed pass costs only time."""
    while not stopping.wait(interval_s):
        try:
            reconcile(time.time())
        except (Conflict, StaleEpoch, StorageUnavailable) as error:
            _LOG.warning("pass thrown away", reason=str(error))


def work(configured: ControllerSettings, stopping: threading.Event) -> None:
    """Roll the model's snapshots out and tell about it until ``stopping`` is set."""
    model, exposition = models.load(configured.model_path), RolloutExposition()
    registry = instruments.with_instruments(exposition)
    if configured.metrics_port:
        status.serve(configured.metrics_host, configured.metrics_port, exposition.status, registry=registry)
    reconcile = exposition.watched(model.key, create(configured, model).reconcile)
    with statsd.Pusher(configured.statsd, Process.CONTROLLER, registry):
        run(reconcile, configured.interval_seconds, stopping)


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        configured = settings.read(ControllerSettings, os.environ)
        logs.configure("controller", configured.log_level)
        work(configured, stopping)
    except (SluiceError, OSError) as error:
        print(f"sluice controller: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
