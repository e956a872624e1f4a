"""How many bytes this pod's snapshots may still take: the least that container, machine and setting leave.

Snapshots are mapped files: one copy in the page cache serves all workers, and the kernel may call it available
because it could be read again from disk. A pod that serves from it cannot spare it, so what the pod holds
counts in full, whether it has been touched yet or not.
"""

from pathlib import Path
from typing import Final

import msgspec

CGROUP: Final = Path("/sys/fs/cgroup")
_PROC: Final = Path("/proc")
_UNLIMITED: Final = 1 << 60


class Memory(msgspec.Struct, frozen=True):
    """``bound`` is what the snapshots may take together, 0 = no such bound."""

    bound: int = 0
    cgroup: Path = CGROUP
    proc: Path = _PROC

    def headroom(self, held: int) -> int:
        """Return how many bytes are left while the snapshots at hand take ``held``; never negative."""
        left = [_machine(self.proc) - held, *_containers(self.cgroup, self.proc, held)]
        if self.bound:
            left.append(self.bound - held)
        return max(0, min(left))


UNBOUND: Final = Memory()


def _machine(proc: Path) -> int:
    return 1024 * _table(proc / "meminfo").get("MemAvailable", 0)


def _containers(cgroup: Path, proc: Path, held: int) -> list[int]:
    """Return what the memory limits of this process's control groups leave, version 2 and 1.

    The limit less the working set, as the kubelet counts it (all but the inactive file cache); or, if that is
    less, what remains when the snapshots held are counted in full and the rest of the file cache is not.
    """
    left = []
    for folder, limit, usage, prefix in (
        *((each, "memory.max", "memory.current", "") for each in _folders(cgroup, proc, "")),
        *(
            (each, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
            for each in _folders(cgroup / "memory", proc, "memory")
        ),
    ):
        most, used, table = _number(folder / limit), _number(folder / usage), _table(folder / "memory.stat")
        if most is None or used is None or most >= _UNLIMITED:
            continue
        inactive, active = (table.get(f"{prefix}{name}_file", 0) for name in ("inactive", "active"))
        left.append(most - max(used - inactive, used - inactive - active + held))
    return left


def _folders(root: Path, proc: Path, controller: str) -> list[Path]:
    """Return where limits may lie: in a container its own group is the root, elsewhere it is below."""
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return [root, root / path.strip("/")] if path.strip("/") else [root]
    return [root]


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None  # "max" is no limit


def _table(path: Path) -> dict[str, int]:
    """Read lines of ``name number`` or ``name: number kB``."""
    words = (line.replace(":", " ").split() for line in _text(path).splitlines())
    return {each[0]: int(each[1]) for each in words if len(each) > 1 and each[1].isdigit()}


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # another version of control groups, or none
        return ""
