"""The journal: what is about to be learned, written down first. A replay of it ends bit-equal.

One line per plan: CRC-32 in hex, a space, JSON. A torn last line (the process died while writing) is cut
off on opening: its plan was never carried out. Any other broken line stops the trainer.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import msgspec

from sluice.errors import StorageUnavailable
from sluice.routing import Routing


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Learn these offsets now. ``ranges`` maps partition number to a half-open offset range.

    ``now`` is Unix seconds. ``fit`` marks the first plan: train from scratch on all of it.
    """

    sequence: int
    ranges: dict[int, tuple[int, int]]
    now: float
    fit: bool = False
    routing: Routing | None = None

    @property
    def key(self) -> str:
        """Return the ranges as text, the same for the same plan."""
        return ",".join(f"{part}:{start}-{end}" for part, (start, end) in sorted(self.ranges.items()))


class Journal:
    """Plans since a checkpoint: one append-only file per checkpoint, named after its plan sequence."""

    def __init__(self, folder: Path, base: int, oldest: int) -> None:
        """Open the journal that follows checkpoint ``base``; delete those from before checkpoint ``oldest``.

        ``plans`` are all plans after ``base``, those in younger files too: they are there if the newest
        checkpoint was damaged and an older one had to be taken.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.glob("journal-*.log")):
            if _base_of(path) < oldest:
                path.unlink()
        files = sorted(folder.glob("journal-*.log"))
        self.plans = [plan for path in files for plan in _read(path) if plan.sequence > base]
        self.path = folder / f"journal-{base:012d}.log"
        if files and _base_of(files[-1]) > base:
            self.path = files[-1]
        self._stream = self.path.open("ab", buffering=0)
        self._end = self._stream.tell()

    def append(self, plan: Plan) -> None:
        """Write a plan durably; a plan that could not be written is not in the journal, so another may follow."""
        document = msgspec.json.encode(plan)
        line = b"%08x %s\n" % (crc32(document), document)
        try:
            self._stream.truncate(self._end)  # what an append that failed may have left
            if self._stream.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise StorageUnavailable(f"{self.path.name} cannot be written: {error.strerror}") from error
        self._end += len(line)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _base_of(path: Path) -> int:
    return int(path.stem.removeprefix("journal-"))


def _read(path: Path) -> Iterator[Plan]:
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with path.open("r+b") as stream:
            stream.truncate(whole)
    for number, line in enumerate(data[:whole].splitlines(), start=1):
        checksum, _, document = line.partition(b" ")
        if b"%08x" % crc32(document) != checksum:
            raise StorageUnavailable(f"{path.name} line {number} is damaged; restore the trainer's volume")
        yield msgspec.json.decode(document, type=Plan)
