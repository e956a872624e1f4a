"""The snapshot store in a folder: a local disk, or a volume that the machines share."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import Final

from sluice.errors import SnapshotRefused, StorageUnavailable
from sluice.snapshot.manifest import MANIFEST, Manifest, load
from sluice.snapshot.verify import check_manifest, missing, survey, verify
from sluice.snapshot.writer import sync

FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class FolderStore:
    """See :class:`~sluice.snapshot.store.SnapshotStore`; snapshots lie right below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    def uri(self, snapshot: str) -> str:
        """See the port."""
        return (self._folder / snapshot).as_uri()

    def ids(self) -> set[str]:
        """See the port; none while there is no folder."""
        try:
            return {each.name for each in self._folder.iterdir()}
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise StorageUnavailable(f"the store cannot be listed now: {error.strerror}") from error

    def publish(self, snapshot: str, write: Callable[[Path], Manifest]) -> Manifest:
        """See the port: written beside where it is to lie, in a folder that no other trainer writes into."""
        making = self._folder / f".{snapshot}.{token_hex(8)}.tmp"
        try:
            made = write(making / snapshot)
            return self._placed(making / snapshot, made)
        except OSError as error:
            raise StorageUnavailable(
                f"{snapshot} cannot be written: {error.strerror}; free the store"
            ) from error
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def _placed(self, written: Path, made: Manifest) -> Manifest:
        """Rename what was written to its place, unless a sound one is there, and return the manifest of that."""
        place = self._folder / made.id
        if place.exists():
            try:
                return verify(place)
            except SnapshotRefused:
                shutil.rmtree(place, ignore_errors=True)
        written.rename(place)  # fails if another trainer was sooner
        sync(self._folder)
        return made

    def manifest(self, snapshot: str, digest: str | None = None) -> Manifest:
        """See the port."""
        return check_manifest(load(self._present(snapshot)), snapshot, digest)

    def survey(self, snapshot: str, digest: str | None = None) -> Manifest:
        """See the port."""
        return survey(self._present(snapshot), digest)

    def verify(
        self, snapshot: str, digest: str | None = None, rest: Callable[[], None] | None = None
    ) -> Manifest:
        """See the port."""
        return verify(self._present(snapshot), digest, rest)

    def fetch(self, made: Manifest, folder: Path, rest: Callable[[], None] | None = None) -> None:
        """See the port: the kernel copies, without a rest."""
        for name in (MANIFEST, *made.files):
            try:
                shutil.copyfile(self._folder / made.id / name, folder / name)
            except FileNotFoundError as error:
                raise SnapshotRefused(f"{name} of {made.id} is missing; copy the snapshot again") from error
            except OSError as error:
                if error.errno in FULL:
                    raise
                raise StorageUnavailable(f"{made.id} cannot be copied now: {error.strerror}") from error

    def open(self, snapshot: str, digest: str | None = None) -> Path:
        """See the port: the snapshot itself."""
        self.verify(snapshot, digest)
        return self.local(snapshot)

    def local(self, snapshot: str) -> Path:
        """See the port."""
        return self._folder / snapshot

    def delete(self, snapshot: str) -> None:
        """See the port; what cannot be deleted stays garbage."""
        shutil.rmtree(self._folder / snapshot, ignore_errors=True)

    def _present(self, snapshot: str) -> Path:
        directory = self._folder / snapshot
        if not directory.is_dir():
            raise missing(snapshot, self.ids())
        return directory
