"""How many bytes this pod may still take."""

from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")
_MEMINFO: Final = Path("/proc/meminfo")


def headroom(cgroup: Path = _CGROUP, meminfo: Path = _MEMINFO) -> int:
    """Return the lesser of what the container's limit and the machine leave."""
    return min(_machine(meminfo), _container(cgroup))


def _machine(meminfo: Path) -> int:
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _container(cgroup: Path) -> int:
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        return max(0, int(limit) - int((cgroup / "memory.current").read_text()))
    except (OSError, ValueError):  # no limit ("max"), or cgroup v1
        return 1 << 62
