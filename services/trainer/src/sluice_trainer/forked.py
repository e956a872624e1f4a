"""Work on a copy-on-write image of this process: a child does it while the parent goes on.

The child sees everything as it was at the fork. It may compute and write files, nothing else: locks that other
threads held at the fork stay held for ever, so it never logs, and it shares no database connection. It reports
through a pipe, in lines, and ends without running anyone's exit handlers; if its parent dies, so does it.
"""

import ctypes
import gc
import os
import select
import signal
import sys
from collections.abc import Callable
from typing import Final, NoReturn, Protocol

from sluice.errors import SluiceError, StorageUnavailable

AVAILABLE: Final = sys.platform == "linux"
"""Whether a child may be forked; elsewhere fork is absent, or unsafe with the system's libraries."""

Tell = Callable[[str], None]
Work = Callable[[Tell], bytes]
"""Returns one line, without line breaks; what it tells meanwhile is for the parent to log."""

_SET_DEATH_SIGNAL: Final = 1  # prctl's PR_SET_PDEATHSIG
_LIBC: Final = ctypes.CDLL(None, use_errno=True) if AVAILABLE else None
_NICE: Final = 10  # learning goes first
_DYING_S: Final = 5.0  # one that hangs in the kernel, on a disk that is gone, dies when that answers


class ChildDied(SluiceError):
    """The child ended without a result: it was killed, or its work has a bug."""


class Task(Protocol):
    """Work that was started."""

    def ended(self, timeout_s: float = 0.0) -> bool:
        """Return whether it has ended, waiting so long for it."""

    def result(self) -> bytes:
        """Return what it returned; raises :class:`StorageUnavailable` or :class:`ChildDied`."""

    def told(self) -> list[str]:
        """Return what it told since this was asked last."""

    def kill(self) -> None:
        """End it now."""


def start(work: Work, *, fork: bool) -> Task:
    """Start ``work`` in a child, or do it here and now; raises :class:`StorageUnavailable` if that fails."""
    return Forked(work) if fork else _Done(work)


class Forked:
    """A child at work."""

    def __init__(self, work: Work) -> None:
        self._reading, writing = os.pipe()
        parent = os.getpid()
        try:
            self._pid = os.fork()
        except OSError as error:
            os.close(self._reading)
            os.close(writing)
            raise StorageUnavailable(f"no process can be started: {error.strerror}") from error
        if self._pid == 0:
            _work(work, writing, parent)
        os.close(writing)
        self._said = b""
        self._told: list[str] = []
        self._last: tuple[bytes, bytes] = (b"", b"")
        self._status: int | None = None

    def ended(self, timeout_s: float = 0.0) -> bool:
        """See :class:`Task`."""
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        while self._status is None and poll.poll(1000 * timeout_s):
            said = os.read(self._reading, 1 << 16)
            if said:
                self._hear(said)
            else:
                self._status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
                os.close(self._reading)
        return self._status is not None

    def _hear(self, said: bytes) -> None:
        *lines, self._said = (self._said + said).split(b"\n")
        for line in lines:
            kind, _, text = line.partition(b" ")
            if kind == b"told":
                self._told.append(text.decode())
            else:
                self._last = kind, text

    def result(self) -> bytes:
        """See :class:`Task`; only once it has ended."""
        kind, text = self._last
        if kind == b"done":
            return text
        if kind == b"storage":
            raise StorageUnavailable(text.decode())
        raise ChildDied(f"the process that was to write it ended with {self._status}: {text.decode()}")

    def told(self) -> list[str]:
        """See :class:`Task`."""
        told, self._told = self._told, []
        return told

    def kill(self) -> None:
        """See :class:`Task`."""
        if self._status is None:
            os.kill(self._pid, signal.SIGKILL)
            self.ended(_DYING_S)


def _work(work: Work, writing: int, parent: int) -> NoReturn:
    """Be the child: never returns, whatever happens."""
    code = 1
    try:
        _prepare(parent)

        def say(kind: str, text: str) -> None:
            os.write(writing, f"{kind} {' '.join(text.split())}\n".encode(errors="replace"))

        try:
            line = work(lambda text: say("told", text))
            os.write(writing, b"done " + line + b"\n")
            code = 0
        except StorageUnavailable as error:
            say("storage", str(error))
        except BaseException as error:
            say("broken", repr(error))
    finally:
        os._exit(code)


def _prepare(parent: int) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):  # they mean the parent, which waits for its children
        signal.signal(number, signal.SIG_IGN)
    gc.disable()  # it would write to pages that both share
    if _LIBC is not None:
        _LIBC.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked to be told
        os._exit(1)
    os.nice(_NICE)


class _Done:
    """Work done in place."""

    def __init__(self, work: Work) -> None:
        self._told: list[str] = []
        self._result = work(self._told.append)

    def ended(self, timeout_s: float = 0.0) -> bool:
        return True

    def result(self) -> bytes:
        return self._result

    def told(self) -> list[str]:
        told, self._told = self._told, []
        return told

    def kill(self) -> None:
        """Do nothing: it has ended."""
