"""``sluice-trainer``: one trainer for one model."""

import gc
import os
import signal
import sys
import threading
from pathlib import Path
from typing import IO, Any, Final

import structlog

from sluice import logs, models, settings, statsd
from sluice.backing import Backing
from sluice.embedded.home import lock
from sluice.errors import InvalidSetting, SluiceError, StaleEpoch
from sluice.metrics import Process
from sluice.routing import Remembered
from sluice.topics import topics_of
from sluice_trainer.outage import Outage, Stopped
from sluice_trainer.settings import TrainerSettings

REPLACED: Final = 3
"""Exit code of a trainer that another one replaced."""


def main() -> None:
    """Run until SIGTERM or SIGINT; exit 2 with one sentence if a setting or the model file is wrong.

    A storage that is away is waited for, from the start on.
    """
    for library in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(library, "1")
    try:
        run(settings.read(TrainerSettings, os.environ))
    except Stopped:
        return
    except StaleEpoch:  # said already, in the log
        sys.exit(REPLACED)
    except (SluiceError, OSError) as error:
        print(f"sluice-trainer: {error}", file=sys.stderr)
        sys.exit(2)


def run(configured: TrainerSettings) -> None:
    """Wire the trainer to its adapters and drive it."""
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
    backing, source = Backing(configured), model.spec.source.name
    log = Outage().bridged(lambda: backing.log(source), stopping)
    ends = status.Ends(lambda: log.end_offsets(topics_of(source).interactions))

    def describe() -> dict[str, Any]:
        return status.describe(trainer, ends.now())

    folder = backing.home.trainer(model.key) / trainer.position.spec_hash
    held = locked(folder, model.key)
    os.register_at_fork(after_in_child=held.close)  # or a child that outlives us would keep the folder
    registry = status.registry_of(describe)
    status.serve(configured.status_port, describe, configured.status_host, registry=registry)
    loop = Loop(
        trainer,
        folder=folder,
        store=backing.snapshots(model.key),
        log=log,
        catalog=backing.catalog(model.key),
        evidence=backing.evidence(model.key),
        routing=Remembered(backing.routing(model.key)),
        warmup_events=configured.warmup_events,
        checkpoint_s=configured.checkpoint_seconds,
        fork=forked.AVAILABLE,
        stopping=stopping,
    )
    gc.freeze()  # what is here stays: a collection would walk through it, and copy it while a child shares it
    structlog.get_logger().info("trainer started", model=model.key, algorithm=model.spec.algorithm.type)
    with statsd.Pusher(configured.statsd, Process.TRAINER, registry):
        loop.run(stopping)
    held.close()


def locked(folder: Path, model: str) -> IO[str]:
    """Return the lock of a trainer's folder; raises :class:`InvalidSetting` if a trainer on this machine has it.

    Between machines, or on a volume where locks do not hold, the newer trainer replaces the older one instead.
    """
    try:
        return lock(folder)
    except InvalidSetting as error:
        raise InvalidSetting(
            f"another trainer of {model} runs on this machine, in {folder}; stop it first, or give this one"
            " another SLUICE_HOME"
        ) from error


if __name__ == "__main__":
    main()
