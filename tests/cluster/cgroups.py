"""The control groups below which all pods run, of version 1 and 2."""

import os
import time
from pathlib import Path
from typing import Final

from cluster import daemons, layout

_ROOT: Final = Path("/sys/fs/cgroup")
_CONTROLLERS: Final = "+cpuset +cpu +io +memory +pids"
_END_S: Final = 20.0
_POLL_S: Final = 0.05


def is_v2() -> bool:
    """Return whether the machine has the unified hierarchy alone."""
    return (_ROOT / "cgroup.controllers").exists()


def make() -> None:
    """Make the group in each hierarchy; kubelet makes none above its own."""
    for hierarchy in _hierarchies():
        (hierarchy / layout.CGROUP).mkdir(exist_ok=True)
        if (hierarchy / "cpuset.mems").exists():
            _copy_cpuset(hierarchy, hierarchy / layout.CGROUP)
    if is_v2():
        for folder in (_ROOT, _ROOT / layout.CGROUP):
            for controller in _CONTROLLERS.split():
                _try_write(folder / "cgroup.subtree_control", controller)


def processes() -> list[int]:
    """Return the processes in our groups: containers, however they were left."""
    listed = [file.read_text().split() for file in _files("cgroup.procs")]
    return sorted({int(each) for group in listed for each in group} - {0})


def remove() -> None:
    """Kill what runs in our groups and remove them; a group is removable once its last process was reaped."""
    deadline = time.monotonic() + _END_S
    while _groups() and time.monotonic() < deadline:
        for state in _files("freezer.state"):
            _try_write(state, "THAWED")
        for process in processes():
            daemons.kill(process)
        for group in _groups():
            _try_remove(group)
        time.sleep(_POLL_S if _groups() else 0)


def leftovers() -> list[str]:
    """Return the groups that are still there."""
    return [str(group) for group in _groups()]


def _hierarchies() -> list[Path]:
    if is_v2():
        return [_ROOT]
    return [folder for folder in _ROOT.iterdir() if folder.is_dir() and (folder / "cgroup.procs").exists()]


def _groups() -> list[Path]:
    """Deepest first."""
    tops = [top for hierarchy in _hierarchies() if (top := hierarchy / layout.CGROUP).exists()]
    return [Path(folder) for top in tops for folder, _, _ in os.walk(top, topdown=False)]


def _files(name: str) -> list[Path]:
    return [file for group in _groups() if (file := group / name).exists()]


def _copy_cpuset(parent: Path, child: Path) -> None:
    """A new cpuset of version 1 has no processor, and takes no process until it has."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not (child / name).read_text().strip():
            (child / name).write_text((parent / name).read_text())


def _try_remove(group: Path) -> None:
    try:
        group.rmdir()
    except OSError:
        return  # busy: the next round tries again


def _try_write(file: Path, text: str) -> None:
    try:
        file.write_text(text)
    except OSError:
        return  # a controller that this machine does not have
