"""Checkpoints: learner, evaluation, histories, id maps and offsets, all of one moment, atomically.

A directory ``checkpoint-<plan sequence>`` with one ``.npy`` file per array, ``state.json`` holding the rest
plus the checksum of every array, and its own checksum in ``state.sha256``. Written under a temporary name,
fsynced, renamed; the newest sound one counts.
"""

import hashlib
import io
import itertools
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from sluice.errors import StorageUnavailable
from sluice.snapshot.manifest import digest
from sluice.snapshot.writer import sync

Arrays = dict[str, NDArray[Any]]
KEPT: Final = 2
_PIECE: Final = 1 << 23
_DOCUMENT: Final = "state.json"
_SEAL: Final = "state.sha256"
_IDS: Final = "ids"  # owner of the vocabularies' arrays


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where a trainer is. ``offsets`` are the next to learn, by partition number.

    ``interactions`` counts accepted ones, of which ``refused`` were dead-lettered because the learner could
    not take them; ``duplicates`` and ``rejected`` those passed over; with ``forgets`` they are all records
    read. ``began`` holds the first offset learned per partition, ``age`` the seconds worked. ``cut_*``
    describe the last snapshot.
    """

    spec_hash: str
    sequence: int = 0
    offsets: dict[int, int] = {}
    began: dict[int, int] = {}
    fitted: bool = False
    age: float = 0.0
    interactions: int = 0
    refused: int = 0
    duplicates: int = 0
    rejected: int = 0
    forgets: int = 0
    cut_interactions: int = 0
    cut_age: float = 0.0
    cut_snapshot: str | None = None
    snapshots: int = 0


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a trainer is made of; array names are ``<owner>.<name>``.

    ``letters`` is how far the dead-letter topic reached, by partition number: letters of later plans follow.
    ``epoch`` is that of the trainer that wrote it.
    """

    position: Position
    users: list[str]
    items: list[str]
    arrays: Arrays
    letters: dict[int, int] = {}
    epoch: int = 0


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    position: Position
    letters: dict[int, int]
    checksums: dict[str, str]
    epoch: int = 0


def write(folder: Path, checkpoint: Checkpoint) -> Position:
    """Write a checkpoint durably, drop all but the newest ``KEPT`` sound ones; return the oldest's position.

    A sound one of the same plan sequence is left alone: the same plans ended in the same bits.
    """
    final = folder / f"checkpoint-{checkpoint.position.sequence:012d}"
    if _sound(final) is None:
        _replace(final, checkpoint)
    kept = [checkpoint.position]
    for older in sorted(folder.glob("checkpoint-*"), reverse=True):
        if older == final:
            continue
        document = _sound(older) if len(kept) < KEPT else None
        if document is None:
            shutil.rmtree(older, ignore_errors=True)
        else:
            kept.append(document.position)
    return min(kept, key=lambda position: position.sequence)


def _replace(final: Path, checkpoint: Checkpoint) -> None:
    folder = final.parent
    temporary = folder / f".{final.name}.tmp"
    for half_written in folder.glob(".checkpoint-*.tmp"):  # by a trainer that was killed
        shutil.rmtree(half_written, ignore_errors=True)
    try:
        temporary.mkdir()  # below a folder that is there: a newer trainer may have moved it away
        _write_files(temporary, checkpoint)
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        sync(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise StorageUnavailable(
            f"{final.name} cannot be written: {error.strerror}; free the disk"
        ) from error


def oldest_sequence(folder: Path) -> int:
    """Return the plan sequence of the oldest checkpoint there is; 0 if there is none."""
    found = sorted(folder.glob("checkpoint-*"))
    return int(found[0].name.removeprefix("checkpoint-")) if found else 0


def _write_files(directory: Path, checkpoint: Checkpoint) -> None:
    arrays = dict(checkpoint.arrays)
    for name, identifiers in (("users", checkpoint.users), ("items", checkpoint.items)):
        arrays |= prefixed(f"{_IDS}.{name}", _joined(identifiers))
    document = _Document(
        position=checkpoint.position,
        letters=checkpoint.letters,
        epoch=checkpoint.epoch,
        checksums={f"{name}.npy": _save(directory / f"{name}.npy", arrays[name]) for name in sorted(arrays)},
    )
    seal = _write(directory / _DOCUMENT, [msgspec.json.encode(document)])
    _write(directory / _SEAL, [seal.encode()])
    sync(directory)


def _save(path: Path, array: NDArray[Any]) -> str:
    """Write one array, to be read back without pickle, and return its file's sha256."""
    if array.dtype.hasobject:
        raise ValueError(f"{path.name} holds Python objects; only numbers are saved (allow_pickle=False)")
    array = np.asarray(array, order="C")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    data = array.reshape(-1).view(np.uint8).data
    pieces = (data[start : start + _PIECE] for start in range(0, len(data), _PIECE))
    return _write(path, itertools.chain([header.getvalue()], pieces))


def _write(path: Path, pieces: Iterable[bytes | memoryview]) -> str:
    """Write a file durably and return its sha256.

    Piece by piece: were much written at once, the journal's next line would have to wait for it.
    """
    sha = hashlib.sha256()
    with path.open("wb") as stream:
        for piece in pieces:
            sha.update(piece)
            stream.write(piece)
            if len(piece) == _PIECE:
                os.fsync(stream.fileno())
        stream.flush()
        os.fsync(stream.fileno())
    return sha.hexdigest()


def newest(folder: Path) -> Checkpoint | None:
    """Return the newest sound checkpoint; None if there is none at all.

    Raises :class:`StorageUnavailable` if checkpoints exist but none is sound: starting from nothing would
    silently throw away what was learned.
    """
    found = sorted(folder.glob("checkpoint-*"), reverse=True)
    for path in found:
        document = _sound(path)
        if document is not None:
            return _read(path, document)
    if found:
        raise StorageUnavailable(
            f"no checkpoint of {len(found)} in {folder.name} is sound; restore the trainer's volume,"
            " or delete the folder to learn again from the start of the log"
        )
    return None


def _sound(path: Path) -> _Document | None:
    """Return a checkpoint's document if every file of it is as it was written."""
    try:
        if digest(path / _DOCUMENT).encode() != (path / _SEAL).read_bytes():
            return None
        document = msgspec.json.decode((path / _DOCUMENT).read_bytes(), type=_Document)
        sound = all(digest(path / name) == checksum for name, checksum in document.checksums.items())
    except (OSError, msgspec.DecodeError):
        return None
    return document if sound else None


def _read(path: Path, document: _Document) -> Checkpoint:
    arrays = {
        name.removesuffix(".npy"): np.load(path / name, allow_pickle=False) for name in document.checksums
    }
    ids = owned(_IDS, arrays)
    return Checkpoint(
        position=document.position,
        users=_split(owned("users", ids)),
        items=_split(owned("items", ids)),
        arrays={name: array for name, array in arrays.items() if not name.startswith(f"{_IDS}.")},
        letters=document.letters,
        epoch=document.epoch,
    )


def _joined(identifiers: Sequence[str]) -> Arrays:
    """Return ids one after another in UTF-8, and where each ends, in characters."""
    lengths = np.fromiter(map(len, identifiers), dtype=np.int64, count=len(identifiers))
    text = np.frombuffer("".join(identifiers).encode(), dtype=np.uint8)
    return {"text": text, "ends": np.cumsum(lengths)}


def _split(arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    text, ends = arrays["text"].tobytes().decode(), arrays["ends"].tolist()
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def prefixed(owner: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return ``arrays`` under ``<owner>.<name>``."""
    return {f"{owner}.{name}": array for name, array in arrays.items()}


def owned(owner: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return the arrays of ``owner`` under their own names."""
    prefix = f"{owner}."
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
