"""Checkpoints: learner, evaluation, histories, id maps and offsets, all of one moment, atomically.

A directory ``checkpoint-<plan sequence>`` with one ``.npy`` file per array, ``state.json`` holding the rest
plus the checksum of every array, and its own checksum in ``state.sha256``. Written under a temporary name,
fsynced, renamed; the newest sound one counts.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from sluice.errors import StorageUnavailable
from sluice.snapshot.manifest import digest
from sluice.snapshot.writer import save, sync

Arrays = dict[str, NDArray[Any]]
KEPT: Final = 2
_DOCUMENT: Final = "state.json"
_SEAL: Final = "state.sha256"


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where a trainer is. ``offsets`` are the next to learn, by partition number.

    ``cut_*`` describe the last snapshot; ``interactions`` counts accepted ones, ``duplicates`` and
    ``rejected`` those passed over; with ``forgets`` they are all records read. ``began`` holds the first
    offset learned per partition.
    """

    spec_hash: str
    sequence: int = 0
    offsets: dict[int, int] = {}
    began: dict[int, int] = {}
    fitted: bool = False
    interactions: int = 0
    duplicates: int = 0
    rejected: int = 0
    forgets: int = 0
    cut_interactions: int = 0
    cut_at: float = 0.0
    cut_snapshot: str | None = None
    snapshots: int = 0


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a trainer is made of; array names are ``<owner>.<name>``."""

    position: Position
    users: list[str]
    items: list[str]
    event_ids: list[int]
    arrays: Arrays


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    position: Position
    users: list[str]
    items: list[str]
    event_ids: list[int]
    checksums: dict[str, str]


def write(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint durably and drop all but the newest ``KEPT``.

    A sound one of the same plan sequence is left alone: the same plans ended in the same bits.
    """
    final = folder / f"checkpoint-{checkpoint.position.sequence:012d}"
    if _read(final) is not None:
        return
    temporary = folder / f".{final.name}.tmp"
    for half_written in folder.glob(".checkpoint-*.tmp"):  # by a trainer that was killed
        shutil.rmtree(half_written, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        _write_files(temporary, checkpoint)
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        sync(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise StorageUnavailable(
            f"{final.name} cannot be written: {error.strerror}; free the disk"
        ) from error
    for older in sorted(folder.glob("checkpoint-*"))[:-KEPT]:
        shutil.rmtree(older)


def oldest_sequence(folder: Path) -> int:
    """Return the plan sequence of the oldest checkpoint kept; 0 if there is none."""
    found = sorted(folder.glob("checkpoint-*"))
    return int(found[0].name.removeprefix("checkpoint-")) if found else 0


def _write_files(directory: Path, checkpoint: Checkpoint) -> None:
    for name, array in checkpoint.arrays.items():
        save(directory / f"{name}.npy", array)
    document = _Document(
        position=checkpoint.position,
        users=checkpoint.users,
        items=checkpoint.items,
        event_ids=checkpoint.event_ids,
        checksums={path.name: digest(path) for path in sorted(directory.iterdir())},
    )
    _write(directory / _DOCUMENT, msgspec.json.encode(document))
    _write(directory / _SEAL, digest(directory / _DOCUMENT).encode())
    sync(directory)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def newest(folder: Path) -> Checkpoint | None:
    """Return the newest sound checkpoint; None if there is none at all.

    Raises :class:`StorageUnavailable` if checkpoints exist but none is sound: starting from nothing would
    silently throw away what was learned.
    """
    found = sorted(folder.glob("checkpoint-*"), reverse=True)
    for path in found:
        checkpoint = _read(path)
        if checkpoint is not None:
            return checkpoint
    if found:
        raise StorageUnavailable(
            f"no checkpoint of {len(found)} in {folder.name} is sound; restore the trainer's volume,"
            " or delete the folder to learn again from the start of the log"
        )
    return None


def _read(path: Path) -> Checkpoint | None:
    try:
        if digest(path / _DOCUMENT).encode() != (path / _SEAL).read_bytes():
            return None
        document = msgspec.json.decode((path / _DOCUMENT).read_bytes(), type=_Document)
        sound = all(digest(path / name) == checksum for name, checksum in document.checksums.items())
    except (OSError, msgspec.DecodeError):
        return None
    if not sound:
        return None
    return Checkpoint(
        position=document.position,
        users=document.users,
        items=document.items,
        event_ids=document.event_ids,
        arrays={
            name.removesuffix(".npy"): np.load(path / name, allow_pickle=False) for name in document.checksums
        },
    )


def prefixed(owner: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return ``arrays`` under ``<owner>.<name>``."""
    return {f"{owner}.{name}": array for name, array in arrays.items()}


def owned(owner: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return the arrays of ``owner`` under their own names."""
    prefix = f"{owner}."
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
