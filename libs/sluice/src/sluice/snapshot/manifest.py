"""``manifest.json``: what a snapshot is made of and where it came from."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from sluice.errors import SnapshotRefused

SCHEMA_VERSION: Final = 1
MANIFEST: Final = "manifest.json"
MANIFEST_LIMIT: Final = 1 << 20
_CHUNK: Final = 1 << 20

SnapshotId = Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", max_length=63)]


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the unit: size in bytes and sha256 in hex."""

    bytes: int
    sha256: str


class PartManifest(msgspec.Struct, frozen=True, kw_only=True):
    """One part: ``kind`` is ``vectors`` or ``neighbours``, ``entity`` is ``items`` or ``users``.

    ``width`` is the dimension of a vector or the number of neighbours a row. ``index`` is the Faiss index
    type (``IVFFlat``, ``HNSW``; ``Flat`` = exact, straight from the matrix), empty for neighbours;
    ``parameters`` are the index's, with what a reader sets (``nprobe``, ``efSearch``); ``fidelity`` is the
    recall of the exact top 20 that they were chosen for.
    """

    kind: str
    entity: str
    rows: int
    width: int
    index: str = ""
    parameters: dict[str, int] = {}
    fidelity: float = 1.0


class EncoderManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The encoder's kind and scalars; its arrays are files ``encoder.<name>.npy``."""

    kind: str
    parameters: dict[str, Any] = {}
    event_weights: dict[str, float] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a unit but its arrays.

    ``offsets`` maps ``topic[partition]`` to the half-open offset range learned from; ``spec_hash`` is that
    of the algorithm and source it was cut under; ``created`` is Unix seconds. ``metrics`` are numbers such
    as ``recall@20``, ``samples`` and ``indexRecall``.
    """

    schema_version: int
    id: SnapshotId
    model: str
    parent: str | None
    algorithm: str
    parameters: dict[str, Any]
    spec_hash: str
    seed: int
    code_version: str
    created: float
    offsets: dict[str, tuple[int, int]]
    interactions: int
    metrics: dict[str, float]
    encoder: EncoderManifest
    parts: dict[str, PartManifest]
    files: dict[str, File]

    @property
    def bytes(self) -> int:
        """Return the size of all files together."""
        return sum(file.bytes for file in self.files.values())


def digest(path: Path, rest: Callable[[], None] | None = None) -> str:
    """Return the sha256 of a file, in hex; ``rest`` is called after each MiB."""
    sha = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            sha.update(chunk)
            if rest is not None:
                rest()
    return sha.hexdigest()


def encode(manifest: Manifest) -> bytes:
    """Return the bytes of ``manifest.json``, the same for equal manifests."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=1)


def digest_of(manifest: Manifest) -> str:
    """Return the sha256 of ``manifest.json``, in hex: what a catalog entry knows a unit by."""
    return hashlib.sha256(encode(manifest)).hexdigest()


def read(directory: Path) -> Manifest:
    """Read ``manifest.json``; raises :class:`SnapshotRefused` if it is absent, broken or too new."""
    return decode(load(directory), directory.name)


def load(directory: Path) -> bytes:
    """Return the bytes of ``manifest.json``; raises :class:`SnapshotRefused` if it is absent or too large."""
    path = directory / MANIFEST
    try:
        if (size := path.stat().st_size) > MANIFEST_LIMIT:
            raise SnapshotRefused(f"{path.name} of {directory.name} has {size} bytes; 1 MiB is the most")
        return path.read_bytes()
    except OSError as error:
        raise SnapshotRefused(f"{path.name} of {directory.name} cannot be read: {error.strerror}") from error


def decode(data: bytes, snapshot: str) -> Manifest:
    """Return the manifest of ``snapshot`` from its bytes; raises :class:`SnapshotRefused` if broken or too new."""
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SnapshotRefused(f"{MANIFEST} of {snapshot} is broken: {error}") from error
    if manifest.schema_version != SCHEMA_VERSION:
        raise SnapshotRefused(
            f"{snapshot} has schema version {manifest.schema_version}, this reader knows"
            f" {SCHEMA_VERSION}; use a matching version of Sluice"
        )
    return manifest
