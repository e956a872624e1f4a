"""Writes a unit: temporary name, every file fsynced, manifest last, one rename.

The directory exists for readers only once the catalog has its entry; until then it is garbage that the
next cut with the same id replaces.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from sluice.encoder import Matrix
from sluice.snapshot import ids, manifest
from sluice.snapshot.content import NeighboursContent, PartContent, UnitContent
from sluice.snapshot.manifest import EncoderManifest, File, Manifest, PartManifest
from sluice.snapshot.unit import Unit

Measure = Callable[[Unit], dict[str, float]]


def write(
    directory: Path, content: UnitContent, provenance: Mapping[str, Any], measure: Measure | None = None
) -> Manifest:
    """Write ``content`` as ``directory`` and return its manifest.

    ``provenance`` holds the manifest's fields except ``encoder``, ``parts``, ``files`` and
    ``schema_version``; ``measure`` looks at the written unit and adds to its metrics. Raises OSError when
    the disk is full; then nothing of that name exists.
    """
    temporary = directory.with_name(f".{directory.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        made = _write_files(temporary, content, provenance)
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


def _write_files(temporary: Path, content: UnitContent, provenance: Mapping[str, Any]) -> Manifest:
    parts = {name: _write_part(temporary, name, part) for name, part in content.parts.items()}
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
    _write_index(directory / f"{name}.index", matrix)
    rows, width = matrix.shape
    return PartManifest(kind="vectors", entity=part.entity, rows=rows, width=width, index="Flat")


def _write_index(path: Path, matrix: Matrix) -> None:
    import faiss

    index = faiss.IndexFlatIP(matrix.shape[1])
    index.add(matrix)
    _write_bytes(path, faiss.serialize_index(index).tobytes())


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


def sync(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
