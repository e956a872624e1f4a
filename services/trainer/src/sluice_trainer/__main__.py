"""``sluice-trainer``: one trainer for one model."""

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import structlog

from sluice import logs, models, settings, statsd
from sluice.backing import Backing
from sluice.embedded.home import Home, lock
from sluice.errors import InvalidSetting, SluiceError, StaleEpoch
from sluice.following import ModelFiles, awaited, watch
from sluice.lifetime import Lifetime
from sluice.metrics import Process
from sluice.model import RecommenderModel, spec_hash
from sluice.routing import Remembered
from sluice.topics import topics_of
from sluice_trainer.outage import Outage, Stopped
from sluice_trainer.settings import TrainerSettings

if TYPE_CHECKING:
    from sluice_trainer.status import Page

REPLACED: Final = 3
"""Exit code of a trainer that another one replaced, if its model is given once and for all."""


def main() -> None:
    """Run until SIGTERM or SIGINT; exit 2 with one sentence if a setting or the model file is wrong.

    A storage that is away is waited for, from the start on, and so is a model that is followed. Another model ends
    the work as a signal does, and then the process begins anew. A trainer that another one replaced exits 3; if it
    follows its model, it stays idle.
    """
    for library in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(library, "1")
    lifetime = Lifetime()
    lifetime.listen()
    try:
        run(settings.read(TrainerSettings, os.environ), lifetime)
    except Stopped:
        pass
    except StaleEpoch:  # said already, in the log
        sys.exit(REPLACED)
    except (SluiceError, OSError) as error:
        print(f"sluice-trainer: {error}", file=sys.stderr)
        sys.exit(2)
    lifetime.end()


def run(configured: TrainerSettings, lifetime: Lifetime) -> None:
    """Serve one model until the end of ``lifetime``, from when there is one."""
    from sluice_trainer.status import Page

    logs.configure("trainer", configured.log_level)
    page = Page()
    if not configured.follow_model:
        model = models.load(configured.model_path)
        _work(configured, model, page, lifetime)
        return
    files = ModelFiles([configured.model_path], _learnable, _relevant)
    page.serve(configured.status_port, configured.status_host)
    if found := awaited(files, lifetime.over):
        looking = watch(files, lifetime.begin_anew)
        try:
            _work(configured, found[0], page, lifetime)
        except StaleEpoch as error:
            _stay_idle(found[0], error, page, lifetime)
        looking.stop()


def _stay_idle(model: RecommenderModel, replaced: StaleEpoch, page: "Page", lifetime: Lifetime) -> None:
    """Wait for the end, as one that a newer trainer replaced.

    Whoever restarts what ends would start a still newer one, which replaces the other in turn, for ever.
    """
    page.show(
        lambda: {"model": model.key, "waiting": f"{replaced}; or change the model to have it begin anew"}
    )
    lifetime.over.wait()


def _relevant(model: RecommenderModel) -> object:
    """Return what a trainer uses of a model: it does not begin anew for a pin, a pause or a gate's margin."""
    from sluice_trainer.trainer import rules_of

    return model.key, model.spec.algorithm, model.spec.source, rules_of(model.spec)


def _learnable(found: Sequence[RecommenderModel]) -> None:
    """Raise :class:`~sluice.errors.InvalidModel` for a model whose algorithm this trainer cannot learn."""
    from sluice_trainer.learners import registry

    for model in found:
        registry.create(model.spec.algorithm.type, model.spec.algorithm.parameters, 0)


def _work(configured: TrainerSettings, model: RecommenderModel, page: "Page", lifetime: Lifetime) -> None:
    """Wire the trainer to its adapters and drive it."""
    folder = Home(configured.home_path).trainer(model.key) / spec_hash(model.spec)
    held = locked(folder, model.key)
    import torch

    from sluice_trainer import forked, status
    from sluice_trainer.loop import Loop
    from sluice_trainer.trainer import Trainer

    torch.set_num_threads(1)
    os.register_at_fork(after_in_child=held.close)  # or a child that outlives us would keep the folder
    stopping = lifetime.over
    trainer = Trainer(model, configured.seed)
    backing, source = Backing(configured), model.spec.source.name
    page.serve(configured.status_port, configured.status_host)
    log = Outage().bridged(lambda: backing.log(source), stopping)
    ends = status.Ends(lambda: log.end_offsets(topics_of(source).interactions))

    def describe() -> dict[str, Any]:
        return status.describe(trainer, ends.now())

    page.show(describe)
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
    with statsd.Pusher(configured.statsd, Process.TRAINER, page.registry):
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
