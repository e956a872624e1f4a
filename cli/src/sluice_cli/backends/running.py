"""Which ``sluice backends`` run on this machine: each holds a lock on a file that is named by its process id.

A lock ends with its process, so a file that can be locked is of one that is gone.
"""

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sluice_cli.backends import cache
from sluice_cli.backends.tools import BackendUnavailable

END_S: Final = 60.0
_POLL_S: Final = 0.05


@contextmanager
def registered() -> Iterator[None]:
    """Be among those that run."""
    _folder().mkdir(parents=True, exist_ok=True)
    file = _folder() / str(os.getpid())
    with file.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def end_all() -> int:
    """Ask all that run to end, wait for them, and return how many there were."""
    running = [file for file in sorted(_folder().glob("*")) if _is_held(file)]
    for file in running:
        os.kill(int(file.name), signal.SIGTERM)
    deadline = time.monotonic() + END_S
    while any(map(_is_held, running)):
        if time.monotonic() > deadline:
            raise BackendUnavailable(f"sluice backends did not end in {END_S:.0f} s; end it by hand")
        time.sleep(_POLL_S)
    return len(running)


def _folder() -> Path:
    return cache.folder() / "running"


def _is_held(file: Path) -> bool:
    try:
        with file.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            file.unlink(missing_ok=True)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
