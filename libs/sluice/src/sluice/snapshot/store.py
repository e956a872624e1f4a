"""Snapshot stores: ``<store>/<namespace>.<model>/<snapshot-id>/`` in a folder or at any URL that fsspec knows.

A snapshot exists once the catalog has its entry; what lies in a store without one is garbage. Readers go by an
entry's URI, or by the one store that their settings name.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

from sluice.catalog import CatalogEntry
from sluice.errors import InvalidSetting, SnapshotRefused
from sluice.snapshot.folder import FolderStore
from sluice.snapshot.manifest import Manifest

_FILE: Final = "file:"
Rest = Callable[[], None]
"""Called after each MiB, by who has better things to do beside."""
Write = Callable[[Path], Manifest]
"""Writes a unit durably as the folder it is given, and leaves nothing of that name if it fails."""


class SnapshotStore(Protocol):
    """Port: the files of one model's snapshots.

    Every operation raises :class:`~sluice.errors.StorageUnavailable` for what may pass, in one sentence, and
    :class:`~sluice.errors.SnapshotRefused` for what is missing or unsound. A store that holds nothing at all may
    be one whose volume is not mounted: what is missing there may pass.
    """

    def uri(self, snapshot: str) -> str:
        """Return where a snapshot lies, for its catalog entry."""

    def ids(self) -> set[str]:
        """Return the names of all that lies in the store: snapshots and what is left of some."""

    def publish(self, snapshot: str, write: Write) -> Manifest:
        """Let ``write`` make a snapshot, put it into the store durably, its manifest last; return that.

        A sound snapshot of that name that lies there already stays as it is, for it may be in the catalog, and it
        is its manifest that is returned; what is left of one is replaced. After
        :class:`~sluice.errors.StorageUnavailable` it may be called again and goes on where it was.
        """

    def manifest(self, snapshot: str, digest: str | None = None) -> Manifest:
        """Return what a snapshot is made of, if its manifest is the one with ``digest``."""

    def survey(self, snapshot: str, digest: str | None = None) -> Manifest:
        """Do what :meth:`manifest` does and check that every file is there with its size, and no other."""

    def verify(self, snapshot: str, digest: str | None = None, rest: Rest | None = None) -> Manifest:
        """Do what :meth:`survey` does and check every file's sha256, a piece at a time."""

    def fetch(self, made: Manifest, folder: Path, rest: Rest | None = None) -> None:
        """Copy a surveyed snapshot's files into an existing ``folder``; who fetched verifies the copy.

        Raises OSError if ``folder`` is full.
        """

    def open(self, snapshot: str, digest: str | None = None) -> Path:
        """Return a verified folder on this machine to read from: the snapshot itself, or a copy."""

    def local(self, snapshot: str) -> Path:
        """Return the folder :meth:`open` returns, unverified; there may be none."""

    def delete(self, snapshot: str) -> None:
        """Delete what has this name, its copy on this machine too; nothing of that name is fine."""


def open_store(url: str | Path, model: str, home: Path) -> SnapshotStore:
    """Return the store of ``model`` (``<namespace>.<name>``) below ``url``: a folder, ``s3://bucket/prefix``, ….

    What a store elsewhere needs on this machine lies below ``home``. Raises :class:`InvalidSetting` if ``url``
    cannot be one.
    """
    base = url / model if isinstance(url, Path) else f"{url.rstrip('/')}/{model}"
    return store_at(base, home.absolute() / "copies" / model)


def store_at(base: str | Path, copies: Path) -> SnapshotStore:
    """Return the store whose snapshots lie right below ``base``; ``copies`` is a folder on this machine."""
    if isinstance(base, Path) or ("://" not in base and not base.startswith(_FILE)):
        return FolderStore(Path(base))
    if base.startswith(_FILE):
        return FolderStore(_path_of(base))
    if _holds_password(base):
        raise InvalidSetting(
            "SLUICE_STORE holds a password or is no URL; take it out, credentials belong into the environment"
            " that this kind of storage reads, such as AWS_ACCESS_KEY_ID"
        )
    from sluice.snapshot.remote import RemoteStore

    return RemoteStore(base, copies)


def _holds_password(url: str) -> bool:
    try:
        return urlsplit(url).password is not None
    except ValueError:
        return True


def _path_of(uri: str) -> Path:
    """Return the path of a file URI; characters that need it are percent-encoded there."""
    rest = uri.removeprefix(_FILE)
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host not in ("", "localhost"):
            raise InvalidSetting(f"{uri} names the host {host}; a folder's URL is file:///folder")
        rest = slash + path
    return Path(unquote(rest))


class Origins:
    """Where readers find snapshots: in ``store``, or, without one, where each entry's URI says."""

    def __init__(self, store: SnapshotStore | None, copies: Path) -> None:
        self._store, self._copies = store, copies
        self._opened: dict[str, SnapshotStore] = {}

    def of(self, entry: CatalogEntry) -> SnapshotStore:
        """Return the store that holds the files of ``entry``; raises :class:`SnapshotRefused` for no usable URI."""
        if self._store is not None:
            return self._store
        base = entry.uri.rpartition("/")[0]
        if base not in self._opened:
            try:
                self._opened[base] = store_at(base, self._copies)
            except InvalidSetting as error:
                raise SnapshotRefused(f"{entry.id} has an unusable URI in the catalog: {error}") from error
        return self._opened[base]
