"""Reading a known set's files, gzipped as they lie or unpacked, with every failure as one sentence."""

import gzip
import zlib
from pathlib import Path
from typing import Final

from sluice_cli.datasets.dataset import DatasetError

MAX_FILE_BYTES: Final = 256 * 1024 * 1024
"""No file of a known set comes near this, unpacked; a larger one is not what it claims to be."""


def locate(folder: Path, name: str) -> Path | None:
    """Return ``folder/name``, plain or with ``.gz``, if it is there."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def read_lines(folder: Path, name: str, encoding: str = "utf-8") -> list[str]:
    """Return the lines of ``folder/name`` (plain or ``.gz``; LF or CRLF) without their ends.

    Raises :class:`DatasetError` if the file is missing, damaged, too large or in another encoding.
    """
    path = locate(folder, name)
    if path is None:
        raise DatasetError(f"{folder / name} is missing (plain or .gz); fetch the data set again")
    try:
        text = _read_bytes(path).replace(b"\r\n", b"\n").decode(encoding)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not {encoding} text: {error.reason} at byte {error.start}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read ({error}); fetch the data set again") from error
    return text.removesuffix("\n").split("\n") if text else []


def _read_bytes(path: Path) -> bytes:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as handle:
        data: bytes = handle.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise DatasetError(f"{path} holds more than {MAX_FILE_BYTES} bytes; it is not the file of that name")
    return data


def expect(found: int, wanted: int | None, what: str) -> None:
    """Raise unless ``found`` equals ``wanted`` (``None`` = any number but 0)."""
    if found == 0 or (wanted is not None and found != wanted):
        belong = "at least 1 belongs" if wanted is None else f"{wanted:,} belong"
        raise DatasetError(f"{what}: {max(found, 0):,} found where {belong}; fetch the data set again")
