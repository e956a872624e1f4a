"""Writes a unit: temporary name, every file fsynced, manifest last, one rename.

The directory exists for readers only once the catalog has its entry. A store lets it be written beside its
place, where nobody else writes.
"""

import errno
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from sluice.encoder import Matrix
from sluice.snapshot import ids, manifest
from sluice.snapshot.choice import FLAT_ROWS, choose
from sluice.snapshot.content import NeighboursContent, PartContent, UnitContent, VectorsContent
from sluice.snapshot.fidelity import spread
from sluice.snapshot.index import FLAT
from sluice.snapshot.manifest import EncoderManifest, File, Manifest, PartManifest
from sluice.snapshot.unit import ITEMS, Unit

Measure = Callable[[Unit], dict[str, float]]
_CENTROIDS: Final = "centroids.npy"


def write(
    directory: Path,
    content: UnitContent,
    provenance: Mapping[str, Any],
    measure: Measure | None = None,
    parent: Path | None = None,
) -> Manifest:
    """Write ``content`` as ``directory`` and return its manifest.

    ``provenance`` holds the manifest's fields except ``encoder``, ``parts``, ``files`` and
    ``schema_version``; ``measure`` looks at the written unit and adds to its metrics. ``parent`` is the
    directory of an earlier unit, which may be gone: its centroids spare this one's index the training, so
    equal content gives equal bytes beside an equal parent. Raises OSError when the disk is full; then
    nothing of that name exists.
    """
    temporary = directory.with_name(f".{directory.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        made = _write_files(temporary, content, provenance, parent)
        if measure is not None:
            metrics = made.metrics | measure(Unit.open(temporary))
            made = msgspec.structs.replace(made, metrics=metrics)
            _write_bytes(temporary / manifest.MANIFEST, manifest.encode(made))
        shutil.rmtree(directory, ignore_errors=True)
        temporary.rename(directory)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync(directory.parent)
    return made


def _write_files(
    temporary: Path, content: UnitContent, provenance: Mapping[str, Any], parent: Path | None
) -> Manifest:
    parts = {name: _write_part(temporary, name, part) for name, part in content.parts.items()}
    if isinstance(items := content.parts.get(ITEMS), VectorsContent):
        parts[ITEMS] = _write_index(temporary, content, items, parts[ITEMS], parent)
    for name, array in content.encoder.arrays().items():
        save(temporary / f"encoder.{name}.npy", array)
    made = Manifest(
        schema_version=manifest.SCHEMA_VERSION,
        encoder=EncoderManifest(
            kind=content.encoder.kind,
            parameters=content.encoder.parameters(),
            event_weights=content.event_weights,
        ),
        parts=parts,
        files={
            path.name: File(bytes=path.stat().st_size, sha256=manifest.digest(path))
            for path in sorted(temporary.iterdir())
        },
        **provenance,
    )
    _write_bytes(temporary / manifest.MANIFEST, manifest.encode(made))
    sync(temporary)
    return made


def _write_part(directory: Path, name: str, part: PartContent) -> PartManifest:
    for file, array in ids.build(part.identifiers).items():
        save(directory / f"{name}.{file}.npy", array)
    if isinstance(part, NeighboursContent):
        save(directory / f"{name}.neighbours.npy", part.rows)
        save(directory / f"{name}.similarities.npy", part.similarities)
        rows, width = part.rows.shape
        return PartManifest(kind="neighbours", entity=part.entity, rows=rows, width=width)
    matrix = np.ascontiguousarray(part.matrix, dtype=np.float32)
    if not np.isfinite(matrix).all():
        raise ValueError(f"part {name} holds numbers that are not finite")
    save(directory / f"{name}.matrix.npy", matrix)
    save(directory / f"{name}.norms.npy", np.linalg.norm(matrix, axis=1).astype(np.float32))
    rows, width = matrix.shape
    return PartManifest(kind="vectors", entity=part.entity, rows=rows, width=width, index=FLAT)


def _write_index(
    directory: Path, content: UnitContent, items: VectorsContent, part: PartManifest, parent: Path | None
) -> PartManifest:
    """Write the index that the items' queries ask for, if any, and tell of it."""
    matrix = np.ascontiguousarray(items.matrix, dtype=np.float32)
    if len(matrix) <= FLAT_ROWS:
        return part
    asked = content.histories or spread(len(matrix))
    queries = content.encoder.encode(asked.rows, asked.weights, matrix).vectors
    if queries is None:
        raise ValueError(f"the encoder {content.encoder.kind} makes no vectors for a vectors part")
    choice = choose(matrix, queries, _centroids(parent))
    if choice.index is not None:
        _write_faiss(directory / f"{ITEMS}.index", choice.index)
    if (centroids := choice.centroids) is not None:
        save(directory / f"{ITEMS}.{_CENTROIDS}", centroids)
    return msgspec.structs.replace(
        part, index=choice.kind, parameters=choice.parameters, fidelity=choice.fidelity
    )


def _centroids(parent: Path | None) -> Matrix | None:
    """Return those of an earlier unit; None if it has none or they are unusable: then they are trained anew."""
    try:
        if parent is None:
            return None
        centroids: NDArray[Any] = np.load(parent / f"{ITEMS}.{_CENTROIDS}", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    usable = centroids.dtype == np.float32 and centroids.ndim == 2 and bool(np.isfinite(centroids).all())
    return centroids if usable else None


def _write_faiss(path: Path, index: Any) -> None:
    import faiss

    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:  # Faiss tells of a full disk in words only
        full = os.strerror(errno.ENOSPC) in str(error)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error)[-200:], str(path)) from error
    sync(path)


def save(path: Path, array: NDArray[Any]) -> None:
    """Write one array durably; it is read back without pickle."""
    with path.open("wb") as stream:
        np.lib.format.write_array(stream, np.asarray(array, order="C"), allow_pickle=False)
        stream.flush()
        os.fsync(stream.fileno())


def _write_bytes(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def sync(path: Path) -> None:
    """Make the names in a directory, or a file's bytes, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
