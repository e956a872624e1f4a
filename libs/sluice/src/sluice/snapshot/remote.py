"""The snapshot store at an fsspec URL, such as ``s3://``: uploaded from this machine, copied to it, never mapped."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from sluice.errors import SnapshotRefused, StorageUnavailable
from sluice.snapshot.copies import Copies
from sluice.snapshot.manifest import MANIFEST, MANIFEST_LIMIT, Manifest
from sluice.snapshot.objects import CHUNK, Objects
from sluice.snapshot.verify import check_digest, check_manifest, check_sizes, missing

_PIECE: Final = 1 << 20
Rest = Callable[[], None]


class RemoteStore:
    """See :class:`~sluice.snapshot.store.SnapshotStore`; snapshots lie right below the URL ``base``.

    ``copies`` is a folder on this machine for what is opened from here or was made here.
    """

    def __init__(self, base: str, copies: Path) -> None:
        self._objects, self._copies = Objects(base), Copies(copies)
        self._upload: _Upload | None = None

    def uri(self, snapshot: str) -> str:
        """See the port."""
        return self._objects.url(snapshot)

    def ids(self) -> set[str]:
        """See the port."""
        return self._objects.folders()

    def publish(self, snapshot: str, write: Callable[[Path], Manifest]) -> Manifest:
        """See the port: written on this machine once, uploaded file by file, kept here as a copy.

        Raises :class:`StorageUnavailable` if another trainer publishes the same meanwhile: the next call sees whose
        it is.
        """
        if self._upload is None or self._upload.made.id != snapshot:
            made = self._copies.make(snapshot, write)
            self._upload = _Upload(self._objects, self._copies.made(snapshot), made)
        made, held = self._upload.made, self._held(snapshot)
        if held is None:
            self._upload.finish()
        self._upload = None
        if held is None or held == made:
            self._copies.adopt(snapshot)
        return held or made

    def manifest(self, snapshot: str, digest: str | None = None) -> Manifest:
        """See the port."""
        return check_manifest(self._manifest(snapshot), snapshot, digest)

    def survey(self, snapshot: str, digest: str | None = None) -> Manifest:
        """See the port: one small file is read, and the list of the others."""
        made = self.manifest(snapshot, digest)
        try:
            check_sizes(made, {**self._objects.sizes(snapshot)})
        except FileNotFoundError as error:
            raise SnapshotRefused(f"{snapshot} was deleted just now; cut a new one") from error
        return made

    def verify(self, snapshot: str, digest: str | None = None, rest: Rest | None = None) -> Manifest:
        """See the port: nothing is kept of what is read."""
        made = self.survey(snapshot, digest)
        for name in made.files:
            sha = hashlib.sha256()
            for piece in self._pieces(made, name, rest):
                sha.update(piece)
            check_digest(made, name, sha.hexdigest())
        return made

    def fetch(self, made: Manifest, folder: Path, rest: Rest | None = None) -> None:
        """See the port."""
        (folder / MANIFEST).write_bytes(self._manifest(made.id))
        for name in made.files:
            with (folder / name).open("wb") as stream:
                for piece in self._pieces(made, name, rest):
                    stream.write(piece)

    def open(self, snapshot: str, digest: str | None = None) -> Path:
        """See the port: a copy."""

        def fetch(folder: Path) -> None:
            self.fetch(self.survey(snapshot, digest), folder)

        return self._copies.open(snapshot, digest, fetch)

    def local(self, snapshot: str) -> Path:
        """See the port."""
        return self._copies.path(snapshot)

    def delete(self, snapshot: str) -> None:
        """See the port: the manifest first, so that no half is taken for a whole."""
        self._objects.delete(snapshot, MANIFEST)
        self._copies.drop(snapshot)

    def _held(self, snapshot: str) -> Manifest | None:
        """Return the manifest of what lies there soundly: a trainer that was replaced must not touch it."""
        try:
            return self.verify(snapshot) if self._objects.has(snapshot, MANIFEST) else None
        except SnapshotRefused:
            return None

    def _manifest(self, snapshot: str) -> bytes:
        try:
            data = self._objects.read(snapshot, MANIFEST, 0, MANIFEST_LIMIT + 1)
        except FileNotFoundError as error:
            raise missing(snapshot, self.ids()) from error
        if len(data) > MANIFEST_LIMIT:
            raise SnapshotRefused(f"{MANIFEST} of {snapshot} is larger than 1 MiB, which is the most")
        return data

    def _pieces(self, made: Manifest, name: str, rest: Rest | None) -> Iterator[memoryview]:
        """Yield a file a MiB at a time, of as many bytes as the manifest says."""
        for start in range(0, made.files[name].bytes, CHUNK):
            data = memoryview(self._chunk(made, name, start))
            for begin in range(0, len(data), _PIECE):
                yield data[begin : begin + _PIECE]
                if rest is not None:
                    rest()

    def _chunk(self, made: Manifest, name: str, start: int) -> bytes:
        end = min(start + CHUNK, made.files[name].bytes)
        try:
            data = self._objects.read(made.id, name, start, end)
        except FileNotFoundError as error:
            raise SnapshotRefused(f"{name} of {made.id} is missing; copy the snapshot again") from error
        if len(data) != end - start:
            raise SnapshotRefused(f"{name} of {made.id} has been cut short; copy the snapshot again")
        return data


class _Upload:
    """A snapshot on its way: what is there is not sent again when it is tried again.

    Another trainer may be sending the same: its files, equal ones, are replaced but never deleted, and once its
    manifest is there nothing more is sent.
    """

    def __init__(self, objects: Objects, folder: Path, made: Manifest) -> None:
        self._objects, self._folder, self.made = objects, folder, made
        self._begin()

    def _begin(self) -> None:
        self._cleared, self._left = False, [*self.made.files, MANIFEST]

    def finish(self) -> None:
        """Send what is left, the manifest last."""
        if not self._cleared:
            self._objects.delete(
                self.made.id, MANIFEST, keep=self.made.files
            )  # what a trainer that died has left
            self._cleared = True
        while self._left:
            if self._objects.has(self.made.id, MANIFEST):
                self._begin()
                raise StorageUnavailable(
                    f"another trainer has just published {self.made.id}; look at it again"
                )
            self._objects.write(self.made.id, self._folder / self._left[0])
            del self._left[0]
        self._objects.drop_unfinished(self.made.id)
