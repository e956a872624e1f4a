"""The fence between trainers of one model: of two that run by mistake, only the newer one leaves anything behind.

A trainer claims an epoch in the catalog, above all earlier ones, then takes over the folder of journals and
checkpoints by renaming it to ``epoch-<its own>``: one step that no node and no network disk does by halves. From
then on the older one's paths lead nowhere, so it can write no checkpoint, begin no journal and delete nothing, at
whatever point it was paused. What it still appends to the journal that it holds open lies behind the start of
the newer one's first journal, where nobody reads (:mod:`sluice_trainer.journal`).

What lies elsewhere is guarded by looking at the catalog first: evidence, dead letters, the group's offsets, each
deletion of a snapshot's files. Who is paused between a look and what it allowed still does that one thing, at most:
evidence that says again what is counted changes nothing, a letter may be there twice, the offsets for lag move back
until the next checkpoint, and files go that had no entry, or a released one, when it looked. A snapshot's entry is
refused by the catalog itself.
"""

import contextlib
import shutil
import time
from pathlib import Path
from typing import Final

import structlog

from sluice.catalog import Catalog
from sluice.errors import StaleEpoch, StorageUnavailable
from sluice.snapshot.writer import sync

_LOG = structlog.get_logger()
LOOK_S: Final = 0.5
"""How long a replaced trainer may learn on for itself before it notices."""
_PREFIX: Final = "epoch-"


class Fence:
    """One trainer's claim on its model, and on the folder with what earlier trainers left there.

    Raises :class:`StaleEpoch` if a still newer trainer has taken the folder over meanwhile.
    """

    def __init__(self, folder: Path, catalog: Catalog) -> None:
        self._catalog = catalog
        self._looked_at = time.monotonic()
        self.epoch = catalog.claim()
        try:
            self.folder = self._take_over(folder)
        except StaleEpoch:
            self.tell()
            raise

    def _take_over(self, folder: Path) -> Path:
        """Return the folder that is this trainer's own from now on."""
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            older = newest_folder(folder)
            if older is not None and _epoch_of(older) >= self.epoch:
                self.check()
                self.epoch = self._catalog.claim()  # the catalog was lost and counts from 1 again
                continue
            own = folder / f"{_PREFIX}{self.epoch:012d}"
            with contextlib.suppress(FileNotFoundError):  # somebody else was faster: look again
                older.rename(own) if older is not None else own.mkdir()
                _tidy(folder, own)
                return own

    def check_folder(self) -> None:
        """Raise :class:`StaleEpoch` if the folder was taken over, :class:`StorageUnavailable` if it is gone."""
        if not self.folder.is_dir():
            self.check()
            raise StorageUnavailable(f"the trainer's folder {self.folder.name} is gone; mount its volume")

    def check(self) -> None:
        """Raise :class:`StaleEpoch` if a newer trainer has claimed the model; asks the catalog."""
        self._looked_at = time.monotonic()
        newest = self._catalog.epoch()
        if newest > self.epoch:
            raise StaleEpoch(f"trainer epoch {self.epoch} was replaced by {newest}; stop this trainer")

    def glance(self) -> None:
        """Do :meth:`check` every ``LOOK_S``; a catalog that cannot answer stops nobody from learning."""
        if time.monotonic() - self._looked_at >= LOOK_S:
            with contextlib.suppress(StorageUnavailable):
                self.check()

    def tell(self) -> None:
        """Log why this trainer stops."""
        by = None  # not known: the catalog does not answer any more
        with contextlib.suppress(StorageUnavailable):
            by = self._catalog.epoch()
        _LOG.error("this trainer was replaced, stopping", trainer_epoch=self.epoch, replaced_by=by)


def newest_folder(folder: Path) -> Path | None:
    """Return where the newest trainer of ``folder`` keeps its journals and checkpoints; None if none ever ran."""
    return max(folder.glob(f"{_PREFIX}*"), default=None)


def _epoch_of(path: Path) -> int:
    return int(path.name.removeprefix(_PREFIX))


def _tidy(folder: Path, own: Path) -> None:
    """Take in what trainers before the first epoch left, and delete what nobody took over."""
    for pattern in ("journal-*.log", "checkpoint-*"):
        for path in folder.glob(pattern):
            path.rename(own / path.name)
    for path in folder.glob(f"{_PREFIX}*"):
        if path < own:
            shutil.rmtree(path, ignore_errors=True)
    sync(own)
    sync(folder)
