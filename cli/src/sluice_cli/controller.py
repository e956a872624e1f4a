"""The controller process of the local mode: the rollout over processes instead of pods."""

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Annotated

import structlog
from msgspec import Meta

from sluice import instruments, logs, models, settings, statsd, status
from sluice.backing import Backing
from sluice.errors import Conflict, SluiceError, StaleEpoch, StorageUnavailable
from sluice.lifetime import Lifetime
from sluice.metrics import Process
from sluice.model import RecommenderModel
from sluice_cli.fleet import LocalFleet
from sluice_operator.controller import Controller
from sluice_operator.embedded import EmbeddedRollout
from sluice_operator.exposition import CountedNotes, RolloutExposition
from sluice_operator.rollout.state import RolloutState
from sluice_operator.verifying import VerifiedEntries

_LOG = structlog.get_logger()


class ControllerSettings(settings.Settings, frozen=True, kw_only=True):
    """Settings of the local controller."""

    interval_seconds: Annotated[float, Meta(gt=0, description="Time between two passes, in seconds.")] = 0.25
    metrics_port: Annotated[settings.Port, Meta(description="Port of health and metrics; 0 = none.")] = 0
    metrics_host: Annotated[str, Meta(description="Address of health and metrics.")] = "127.0.0.1"
    fleet: Annotated[
        str,
        Meta(description="Folder of this model below <home>/fleet; empty = no other model runs beside it."),
    ] = ""


def create(configured: ControllerSettings, model: RecommenderModel) -> Controller:
    """Wire the controller to its adapters and the local fleet."""
    backing = Backing(configured)
    rollout = EmbeddedRollout(backing.home.rollout(model.key))
    return Controller(
        model.spec,
        status=rollout,
        commands=rollout,
        notes=CountedNotes(rollout, model.key),
        fleet=LocalFleet(configured.home_path, configured.fleet),
        catalog=backing.catalog(model.key),
        evidence=backing.evidence(model.key),
        routing=backing.routing(model.key),
        verified=VerifiedEntries(
            backing.snapshots(model.key) if configured.store else None, configured.home_path
        ),
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
    lifetime = Lifetime()
    lifetime.listen()
    try:
        configured = settings.read(ControllerSettings, os.environ)
        logs.configure("controller", configured.log_level)
        work(configured, lifetime.over)
    except (SluiceError, OSError) as error:
        print(f"sluice controller: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
