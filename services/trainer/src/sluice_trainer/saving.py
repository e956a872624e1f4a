"""Checkpoints on the way: a child writes what the trainer was at the fork, the trainer goes on learning.

The journal is rotated at the fork; the chain of journals since the oldest checkpoint kept stays until the new
one is sound. So a child that fails or dies costs nothing but the time of a longer replay.
"""

import time
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import structlog

from sluice import instruments, metrics
from sluice.errors import StorageUnavailable
from sluice.events import Partition
from sluice_trainer import checkpoint
from sluice_trainer.checkpoint import Checkpoint, Position
from sluice_trainer.forked import ChildDied, Task, Tell, start
from sluice_trainer.journal import Journal
from sluice_trainer.planning import offsets_of
from sluice_trainer.trainer import Trainer

_LOG = structlog.get_logger()
_SECONDS = instruments.histogram(metrics.CHECKPOINT_SECONDS)
_PAUSE = instruments.histogram(metrics.PAUSE_SECONDS)
SHARE: Final = 10
"""A checkpoint is begun so many times the duration of the last one after it: writing takes a tenth at most."""


class Saved(NamedTuple):
    """A sound checkpoint: the offsets it holds, and the position of the oldest one kept."""

    offsets: dict[Partition, int]
    oldest: Position


class Saver:
    """Writes a trainer's checkpoints into ``folder``, one at a time, every ``interval_s`` at the most often."""

    def __init__(self, trainer: Trainer, folder: Path, interval_s: float, *, epoch: int, fork: bool) -> None:
        self._trainer, self._folder, self._epoch, self._fork = trainer, folder, epoch, fork
        self._interval_s, self._due_at = interval_s, time.monotonic() + interval_s
        self._began = 0.0
        self._sound = 0  # the plan sequence of the newest checkpoint written
        self._pending: tuple[dict[Partition, int], Task, int] | None = None

    @property
    def due(self) -> bool:
        """Whether a checkpoint is to be begun now; none is while nothing was learned since the last one."""
        return self._due_since(0.0)

    @property
    def overdue(self) -> bool:
        """Whether one has been due for a further interval."""
        return self._due_since(self._interval_s)

    def _due_since(self, seconds: float) -> bool:
        moved = self._trainer.position.sequence != self._sound
        return moved and self._pending is None and time.monotonic() >= self._due_at + seconds

    def hurry(self) -> None:
        """Let the next checkpoint be due at once: a training would be lost otherwise."""
        self._due_at = min(self._due_at, time.monotonic())

    def begin(self, journal: Journal, letters: dict[int, int]) -> None:
        """Begin a checkpoint of what the trainer is now; ``letters`` is how far the dead letters reach.

        Raises :class:`StorageUnavailable` if it cannot even begin.
        """
        self._began = time.monotonic()
        self._due_at = self._began + self._interval_s
        trainer, folder, made = self._trainer, self._folder, partial(self._made, letters)

        def work(_tell: Tell) -> bytes:
            return msgspec.json.encode(checkpoint.write(folder, made()))

        journal.rotate(trainer.position.sequence)
        self._pending = offsets_of(trainer), start(work, fork=self._fork), trainer.position.sequence
        _PAUSE.observe(time.monotonic() - self._began)

    def settled(self, timeout_s: float = 0.0) -> Saved | None:
        """Return the pending checkpoint once it is sound, waiting so long for it; None if there is none (yet).

        One that failed is logged and tried again later.
        """
        if self._pending is None or not self._pending[1].ended(timeout_s):
            return None
        (offsets, task, sequence), self._pending = self._pending, None
        ended = time.monotonic()
        took_s = ended - self._began
        self._due_at = max(self._began + self._interval_s, ended + SHARE * took_s)
        try:
            oldest = msgspec.json.decode(task.result(), type=Position)
        except (StorageUnavailable, ChildDied) as error:
            _LOG.error(
                "checkpoint failed, it will be tried again", reason=str(error), took_ms=round(1000 * took_s)
            )
            return None
        self._sound = sequence
        _SECONDS.observe(took_s)
        _LOG.debug("checkpoint written", took_ms=round(1000 * took_s))
        return Saved(offsets, oldest)

    def wait(self, timeout_s: float) -> Saved | None:
        """Wait for the pending checkpoint, if there is one, and end it where that takes too long.

        A child may hang for ever, on a network disk that is gone; its plans are in the journal.
        """
        ends_at = time.monotonic() + timeout_s
        while self._pending is not None and (left := ends_at - time.monotonic()) > 0:
            saved = self.settled(min(left, 1.0))
            if saved is not None:
                return saved
        self.abandon()
        return None

    def abandon(self) -> None:
        """End what is pending."""
        if self._pending is not None:
            self._pending[1].kill()
            self._pending = None

    def save(self, journal: Journal, letters: dict[int, int]) -> Saved:
        """Write a checkpoint here and now; raises :class:`StorageUnavailable`."""
        with _SECONDS.time(), _PAUSE.time():
            oldest = checkpoint.write(self._folder, self._made(letters))
        self._sound = self._trainer.position.sequence
        journal.rotate(self._sound)
        return Saved(offsets_of(self._trainer), oldest)

    def _made(self, letters: dict[int, int]) -> Checkpoint:
        made = self._trainer.checkpoint()
        return msgspec.structs.replace(made, letters=letters, epoch=self._epoch)
