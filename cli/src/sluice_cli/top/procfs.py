"""CPU time and memory of services on this machine, workers included, from ``/proc``; nothing where there is none."""

import os
from pathlib import Path
from typing import Final, NamedTuple

PROC: Final = Path("/proc")
_SESSION, _USER, _SYSTEM = 3, 11, 12  # fields of /proc/<pid>/stat after the name


class Usage(NamedTuple):
    """``cpu_s`` of all processes of a service since they began; ``memory_bytes`` with shared pages shared out."""

    cpu_s: float
    memory_bytes: int


def usage(pids: set[int], proc: Path = PROC) -> dict[int, Usage]:
    """Return what each service uses; ``pids`` lead sessions of their own, as the supervisor starts them."""
    tick = os.sysconf("SC_CLK_TCK")
    found: dict[int, Usage] = {}
    for folder in proc.glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            session = int(fields[_SESSION])
            if session in pids:
                before = found.get(session, Usage(0.0, 0))
                cpu_s = (int(fields[_USER]) + int(fields[_SYSTEM])) / tick
                found[session] = Usage(before.cpu_s + cpu_s, before.memory_bytes + _memory(folder))
        except (OSError, ValueError, IndexError):  # it ended meanwhile
            continue
    return found


def _memory(folder: Path) -> int:
    for line in (folder / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def alive(pid: int) -> bool:
    """Return whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
