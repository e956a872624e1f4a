"""The files in which worker processes keep their metrics, one per process and kind, as prometheus_client lays them out.

What a worker that ended has counted goes on counting, in one file of each kind for all of them: however many workers
come and go, the folder stays as small, and no counter goes backwards.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from prometheus_client import multiprocess
from prometheus_client.mmap_dict import MmapedDict

KINDS: Final = ("counter", "histogram", "summary")
"""What is summed up over processes; gauges of a process end with it."""


@contextmanager
def locked(folder: Path, *, shared: bool) -> Iterator[None]:
    """Hold the folder's lock: who reads shares it, so that nobody reads while values move between files."""
    with (folder / "lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def take_over(folder: Path, pid: int) -> None:
    """Add what the ended process ``pid`` has counted to what all ended ones have, and remove its files."""
    with locked(folder, shared=False):
        multiprocess.mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
        for kind in KINDS:
            path = folder / f"{kind}_{pid}.db"
            if path.exists():
                _add(path, folder / f"{kind}_ended.db")
                path.unlink()


def _add(path: Path, to: Path) -> None:
    ended = MmapedDict(str(to))  # type: ignore[no-untyped-call]
    try:
        for key, value, timestamp, _ in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
            ended.write_value(key, ended.read_value(key)[0] + value, timestamp)  # type: ignore[no-untyped-call]
    finally:
        ended.close()  # type: ignore[no-untyped-call]
