"""The journal: what is about to be learned, written down first. A replay of it ends bit-equal.

One line per plan: CRC-32 in hex, a space, JSON. A torn last line (the process died while writing) is passed
over: its plan was never carried out. Any other broken line stops the trainer.

A chain of append-only files, ``journal-<plan sequence>-<trainer epoch>.log``: a new one begins with each trainer
and with each checkpoint, and is named after the newest plan before it. What a file holds beyond the start of the
next one is never read, so an older trainer that still writes to the file it has open changes nothing. A file is
needed as long as a checkpoint from before its end may have to be taken.
"""

import errno
import os
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from zlib import crc32

import msgspec

from sluice.errors import StorageUnavailable
from sluice.routing import Routing
from sluice.snapshot.writer import sync


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What the spec had decided when a plan was made, so that a replay does the same under another spec.

    A snapshot is cut after ``cut_seconds`` or ``cut_events``; ``metrics`` are measured for evidence, on one
    event ``of`` so many.
    """

    cut_seconds: float
    cut_events: int
    metrics: tuple[str, ...]
    of: int = 1


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Learn these offsets now. ``ranges`` maps partition number to a half-open offset range.

    ``now`` is Unix seconds, a label: clocks jump. ``elapsed`` is how many seconds this process worked or
    waited since its last plan, or its start. ``fit`` marks the first plan: train from scratch on all of it.
    ``routing`` names no snapshot that could not be opened.
    """

    sequence: int
    ranges: dict[int, tuple[int, int]]
    now: float
    rules: Rules
    elapsed: float = 0.0
    fit: bool = False
    routing: Routing | None = None

    @property
    def key(self) -> str:
        """Return the ranges as text, the same for the same plan."""
        return ",".join(f"{part}:{start}-{end}" for part, (start, end) in sorted(self.ranges.items()))


class Journal:
    """Plans since the oldest checkpoint kept."""

    def __init__(self, folder: Path, base: int, oldest: int, epoch: int) -> None:
        """Read the journals that follow checkpoint ``oldest``, delete those from before it, begin a new one.

        ``plans`` are all plans after checkpoint ``base``; ``epoch`` is above that of every journal there is.
        """
        self._folder, self._epoch = folder, epoch
        self._named: dict[Path, set[str]] = {}
        self.drop_before(oldest)
        self.plans: list[Plan] = []
        for path, plans in _each(folder):
            self._named[path] = {name for plan in plans for name in _names_of(plan)}
            self.plans += [plan for plan in plans if plan.sequence > base]
        self._open(max([base, *map(_base_of, self._named), *(plan.sequence for plan in self.plans)]))

    def _open(self, base: int) -> None:
        self.path = self._folder / f"journal-{base:012d}-{self._epoch:06d}.log"
        try:
            self._stream = self.path.open("ab", buffering=0)
            sync(self._folder)
        except OSError as error:
            raise StorageUnavailable(f"{self.path.name} cannot be written: {error.strerror}") from error
        self._end = self._stream.tell()
        self._current = self._named.setdefault(self.path, set())

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
        self._current.update(_names_of(plan))

    def rotate(self, sequence: int) -> None:
        """Begin the file that follows a checkpoint of plan ``sequence``, which may yet fail.

        Raises :class:`StorageUnavailable` if it cannot be made; the old one goes on then.
        """
        old = self._stream
        self._open(sequence)
        old.close()

    def drop_before(self, oldest: int) -> None:
        """Delete what no checkpoint needs: those from before checkpoint ``oldest``."""
        for path in _files(self._folder):
            if _base_of(path) < oldest:
                path.unlink()
                self._named.pop(path, None)

    def named(self) -> set[str]:
        """Return the snapshots that a replay from any checkpoint kept would open."""
        return {name for names in self._named.values() for name in names}

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _names_of(plan: Plan) -> set[str]:
    routing = plan.routing
    return {name for name in (routing.stable, routing.candidate) if name} if routing else set()


def plans_in(folder: Path) -> list[Plan]:
    """Return what the journals of ``folder`` hold; only reads, also while a trainer is writing."""
    return [plan for _, plans in _each(folder) for plan in plans]


def _each(folder: Path) -> Iterator[tuple[Path, list[Plan]]]:
    files = _files(folder)
    for path, following in zip_longest(files, files[1:]):
        yield path, _read(path, _base_of(following) if following else None)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("journal-*.log"), key=_place_of)


def _place_of(path: Path) -> tuple[int, int]:
    """Return the plan sequence after which a file begins, and the epoch of the trainer that began it."""
    base, _, epoch = path.stem.removeprefix("journal-").partition("-")
    return int(base), int(epoch or 0)


def _base_of(path: Path) -> int:
    return _place_of(path)[0]


def _read(path: Path, until: int | None) -> list[Plan]:
    """Return a file's plans up to sequence ``until``; what follows that one is not even looked at."""
    plans: list[Plan] = []
    data = path.read_bytes()
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), start=1):
        if until is not None and (plans[-1].sequence if plans else _base_of(path)) >= until:
            break
        plans.append(_plan(line, f"{path.name} line {number}"))
    return plans


def _plan(line: bytes, place: str) -> Plan:
    checksum, _, document = line.partition(b" ")
    if b"%08x" % crc32(document) != checksum:
        raise StorageUnavailable(f"{place} is damaged; restore the trainer's volume")
    try:
        return msgspec.json.decode(document, type=Plan)
    except msgspec.DecodeError as error:
        raise StorageUnavailable(
            f"{place} was written by another version of Sluice ({error}); run that version,"
            " or delete the folder to learn again from the start of the log"
        ) from error
