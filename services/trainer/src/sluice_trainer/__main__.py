"""``sluice-trainer``: one trainer for one model."""

import gc
import os
import signal
import sys
import threading
from typing import Annotated, Any

import structlog
from msgspec import Meta

from sluice import logs, models, settings, statsd
from sluice.embedded.home import Home, lock
from sluice.embedded.models import EmbeddedCatalog, EmbeddedEvidence, EmbeddedRouting
from sluice.errors import SluiceError
from sluice.metrics import Process
from sluice.topics import topics_of


class TrainerSettings(settings.Settings, frozen=True, kw_only=True):
    """Settings of the trainer."""

    status_port: Annotated[
        settings.Port, Meta(description="Port of health, status and metrics; 0 = any.")
    ] = 8085
    status_host: Annotated[str, Meta(description="Address of health, status and metrics.")] = "127.0.0.1"
    seed: Annotated[int, Meta(ge=0, lt=1 << 32, description="Seed of all randomness of this model.")] = 0
    warmup_events: Annotated[
        int, Meta(ge=1, description="How many interactions the log must hold before the first training.")
    ] = 1_000
    checkpoint_seconds: Annotated[
        float, Meta(gt=0, description="Longest time between two checkpoints, in seconds.")
    ] = 15.0


def main() -> None:
    """Run until SIGTERM or SIGINT; exit 2 with one sentence if a setting or the model file is wrong."""
    for library in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(library, "1")
    try:
        run(settings.read(TrainerSettings, os.environ))
    except (SluiceError, OSError) as error:
        print(f"sluice-trainer: {error}", file=sys.stderr)
        sys.exit(2)


def run(configured: TrainerSettings) -> None:
    """Wire the trainer to the embedded adapters and drive it."""
    import torch

    from sluice_trainer import forked, status
    from sluice_trainer.loop import Loop
    from sluice_trainer.trainer import Trainer

    torch.set_num_threads(1)
    logs.configure("trainer", configured.log_level)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())

    model = models.load(configured.model_path)
    trainer = Trainer(model, configured.seed)
    home, source = Home(configured.home_path), model.spec.source.name
    log, database = home.log(source), home.model(model.key)

    def describe() -> dict[str, Any]:
        return status.describe(trainer, log.end_offsets(topics_of(source).interactions))

    folder = home.trainer(model.key) / trainer.position.spec_hash
    held = lock(folder)
    os.register_at_fork(after_in_child=held.close)  # or a child that outlives us would keep the folder
    registry = status.registry_of(describe)
    status.serve(configured.status_port, describe, configured.status_host, registry=registry)
    loop = Loop(
        trainer,
        folder=folder,
        store=home.snapshots(model.key),
        log=log,
        catalog=EmbeddedCatalog(database),
        evidence=EmbeddedEvidence(database),
        routing=EmbeddedRouting(database),
        warmup_events=configured.warmup_events,
        checkpoint_s=configured.checkpoint_seconds,
        fork=forked.AVAILABLE,
    )
    gc.freeze()  # what is here stays: a collection would walk through it, and copy it while a child shares it
    structlog.get_logger().info("trainer started", model=model.key, algorithm=model.spec.algorithm.type)
    with statsd.Pusher(configured.statsd, Process.TRAINER, registry):
        loop.run(stopping)
    held.close()


if __name__ == "__main__":
    main()
