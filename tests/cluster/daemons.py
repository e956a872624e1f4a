"""The node's long-running programs: started detached, each with a log, and found again by what they carry.

Every one carries the state folder in its environment, and so do its children. That finds what is ours after any
crash, and nothing of anyone else's.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cluster import layout
from cluster.commands import ClusterError, unproxied

MARK: Final = "SLUICE_CLUSTER_STATE"
READY_S: Final = 90.0
END_S: Final = 30.0
_POLL_S: Final = 0.05
_TAIL_BYTES: Final = 2_000


def ensure(name: str, command: Sequence[str | Path], ready: Callable[[], bool], **environment: str) -> None:
    """Start a program unless it runs, and wait until it is ready; raises :class:`ClusterError` if it is not."""
    if pid(name) is None:
        _end_strays(name)
        _start(name, command, environment)
    deadline = time.monotonic() + READY_S
    while not ready():
        if pid(name) is None or time.monotonic() > deadline:
            raise ClusterError(f"{name} did not get ready: {_last_words(name)}")
        time.sleep(_POLL_S)


def pid(name: str) -> int | None:
    """Return the process id of one of our programs while it runs."""
    try:
        found = int(_pid_file(name).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found if _is_ours(found) else None


def signal_to(name: str, number: signal.Signals) -> None:
    """Send a signal to one of our programs, if it runs."""
    if (found := pid(name)) is not None:
        os.kill(found, number)


def stop(name: str) -> None:
    """End one program as an operator would, and with SIGKILL if it does not leave."""
    if (found := pid(name)) is None:
        return
    os.kill(found, signal.SIGTERM)
    deadline = time.monotonic() + END_S
    while pid(name) is not None:
        if time.monotonic() > deadline:
            os.kill(found, signal.SIGKILL)
        time.sleep(_POLL_S)


def ours() -> list[int]:
    """Return every process that carries our mark."""
    processes = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
    return [process for process in processes if process != os.getpid() and _is_ours(process)]


def kill(process: int) -> None:
    """End a process at once; one that is gone already is fine."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def _start(name: str, command: Sequence[str | Path], environment: dict[str, str]) -> None:
    layout.logs().mkdir(parents=True, exist_ok=True)
    _pid_file(name).parent.mkdir(parents=True, exist_ok=True)
    with (layout.logs() / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=layout.state(),
            env=unproxied(os.environ) | environment | {MARK: str(layout.state())},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _pid_file(name).write_text(str(process.pid))
    while process.poll() is None and not _is_ours(process.pid):
        time.sleep(_POLL_S)  # the kernel shows its environment a moment after it began
    process.returncode = 0  # it outlives this process, which shall neither wait for it nor warn of that


def _end_strays(name: str) -> None:
    """End what a killed program left behind: nginx' workers would keep its port."""
    for process in ours():
        if _called(process) == name:
            kill(process)


def _called(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return ""


def _is_ours(process: int) -> bool:
    """A process that ended, or became another, carries no mark."""
    folder = Path(f"/proc/{process}")
    try:
        if f"{MARK}={layout.state()}".encode() in (folder / "environ").read_bytes().split(b"\0"):
            return True
        # nginx writes its title over its environment; it stays in the folder that it was started in.
        return _called(process) == "nginx" and (folder / "cwd").readlink() == layout.state()
    except OSError:
        return False


def _pid_file(name: str) -> Path:
    return layout.state() / "pids" / name


def _last_words(name: str) -> str:
    try:
        said = (layout.logs() / f"{name}.log").read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()
    except OSError:
        said = ""
    return said or "it said nothing"
