"""Runs a module that is killed at one of its durable writes.

``python dying.py --at N [--after] [--whole] [--count-file F] MODULE [ARGS ...]`` is ``python -m MODULE ARGS``, but
SIGKILL ends it just before its Nth durable write, or with ``--after`` just after it. Durable writes are
``os.fsync``, ``os.fdatasync``, ``os.rename``, ``os.replace`` (``pathlib`` goes through these two) and each
``COMMIT`` of SQLite. Numbers go on in forked children, so the Nth may be theirs: then the child dies alone,
with ``--whole`` everything in its process group does. ``--at 0`` only counts; ``count`` reads the count that
``--count-file`` keeps, also of processes that are dead. A file that is named again goes on counting in it.

A killed process loses what it has not handed to the kernel, no more: what fsync is for, a power cut, is not
simulated here. That each rename is preceded by an fsync is for the eye to check.
"""

import argparse
import fcntl
import mmap
import os
import runpy
import signal
import sqlite3
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

COUNTED: Final = ("fsync", "fdatasync", "rename", "replace")
_NUMBER: Final = struct.Struct("<Q")


class Count:
    """A number in a file that a process shares with those it forks."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("a+b")
        if path.stat().st_size < _NUMBER.size:
            os.truncate(path, _NUMBER.size)
        self._shared = mmap.mmap(self._stream.fileno(), _NUMBER.size)
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self._lock = threading.Lock()  # a thread of the parent may have held it

    def next(self) -> int:
        """Add one and return the sum; atomic among threads and processes."""
        with self._lock:
            fcntl.lockf(self._stream, fcntl.LOCK_EX)
            try:
                number = int(_NUMBER.unpack_from(self._shared)[0]) + 1
                _NUMBER.pack_into(self._shared, 0, number)
            finally:
                fcntl.lockf(self._stream, fcntl.LOCK_UN)
        return number


class Death:
    """Kills at the ``at``-th durable write, before or after it."""

    def __init__(self, count: Count, at: int, *, after: bool = False, whole: bool = False) -> None:
        self._count, self._at, self._after, self._whole = count, at, after, whole

    def around(self, write: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``write``, counted."""

        def counted(*arguments: Any, **keywords: Any) -> Any:
            due = self._count.next() == self._at
            if due and not self._after:
                self._kill()
            done = write(*arguments, **keywords)
            if due:
                self._kill()
            return done

        return counted

    def _kill(self) -> None:
        if self._whole:
            os.killpg(os.getpgrp(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60.0)  # another thread may have been chosen to take the signal


def install(death: Death) -> None:
    """Count the durable writes of this process and of its children from now on."""
    for name in COUNTED:
        setattr(os, name, death.around(getattr(os, name)))
    connect = sqlite3.connect

    class Counting(sqlite3.Connection):
        def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
            execute = super().execute
            ends = statement.lstrip()[:6].upper() in ("COMMIT", "END")
            return (death.around(execute) if ends else execute)(statement, *parameters)

        def commit(self) -> None:
            (death.around(super().commit) if self.in_transaction else super().commit)()

    def counting_connect(*arguments: Any, **keywords: Any) -> sqlite3.Connection:
        return connect(*arguments, **{"factory": Counting, **keywords})

    sqlite3.connect = counting_connect


def count(path: Path) -> int:
    """Return how many durable writes a count file saw; 0 if there is none."""
    data = path.read_bytes() if path.exists() else b""
    return int(_NUMBER.unpack(data)[0]) if len(data) == _NUMBER.size else 0


def command(
    at: int, module: str, *arguments: str, count_file: Path | None = None, **flags: bool
) -> list[str]:
    """Return the command line; ``flags`` are ``after`` and ``whole``."""
    options = [f"--{name}" for name, wanted in flags.items() if wanted]
    kept = ["--count-file", str(count_file)] if count_file else []
    return [sys.executable, __file__, "--at", str(at), *options, *kept, module, *arguments]


def between(writes: int) -> list[tuple[int, bool]]:
    """Return (at, after) so that each of the moments before, between and after ``writes`` writes comes once.

    Just after a write and just before the next are the same moment, so every other write is taken, on both sides.
    """
    return [(moment // 2 * 2 + 1, moment % 2 == 1) for moment in range(writes + 1)]


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--at", type=int, required=True, help="which durable write; 0 = none, only count")
    parser.add_argument("--after", action="store_true", help="just after it instead of just before")
    parser.add_argument("--whole", action="store_true", help="kill the process group, not the process alone")
    parser.add_argument("--count-file", type=Path, help="keep the count in this file")
    parser.add_argument("module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    return parser.parse_args()


def main() -> None:
    """Become the module."""
    parsed = _parsed()
    if parsed.whole and os.getpgrp() != os.getpid():
        os.setpgid(0, 0)  # so that the killer's own group stays out of it
    with tempfile.TemporaryDirectory() as folder:
        counted = Count(parsed.count_file or Path(folder) / "count")
    install(Death(counted, parsed.at, after=parsed.after, whole=parsed.whole))
    sys.path[0] = str(Path.cwd())  # as ``python -m`` has it
    sys.argv = [parsed.module, *parsed.arguments]
    runpy.run_module(parsed.module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
