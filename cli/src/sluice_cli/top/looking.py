"""One look at every process: what it exposes and tells, and what it uses. Reads only."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import urllib3

from sluice.metrics import INFO, Process
from sluice_cli.fleet import Files, LocalPlatform, LocalProcess
from sluice_cli.top import procfs
from sluice_cli.top.exposition import Exposition, parse
from sluice_cli.top.procfs import Usage
from sluice_operator.rollout.state import RolloutState

T = TypeVar("T")
_TELLING: Final = (Process.TRAINER, Process.CONTROLLER)
TIMEOUT_S: Final = 1.0
_HTTP: Final = urllib3.PoolManager(num_pools=32, maxsize=4, timeout=urllib3.Timeout(TIMEOUT_S), retries=False)


class Loaded(msgspec.Struct, frozen=True):
    """A snapshot that a pod serves."""

    id: str
    rows: int = 0
    bytes: int = 0


class Refused(msgspec.Struct, frozen=True):
    """A snapshot that a pod does not serve, and why."""

    id: str
    reason: str = ""


class Shelf(msgspec.Struct, frozen=True):
    """What a pod answers on ``/v1/snapshots``."""

    wanted: list[str] = []
    loaded: list[Loaded] = []
    refused: list[Refused] = []
    headroom_bytes: int | None = None


class Told(msgspec.Struct, frozen=True):
    """What a process answers on ``/status``: a trainer its figures, a controller its rollouts by model."""

    model: str = ""
    algorithm: str = ""
    interactions: int = 0
    items: int = 0
    users: int = 0
    lag: int = 0
    snapshots: int = 0
    quality: dict[str, float] = {}
    rollouts: dict[str, RolloutState] = {}


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One process at the time of the look; without ``metrics`` it did not answer, so ``service`` is unknown."""

    process: LocalProcess
    usage: Usage | None = None
    metrics: Exposition | None = None
    service: str = ""
    told: Told = Told()
    shelf: Shelf | None = None


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """All processes at ``at`` (Unix seconds)."""

    at: float
    api: str
    model_file: str = ""
    processes: tuple[Seen, ...] = ()


def platform_of(home: Path) -> LocalPlatform | None:
    """Return what runs in ``home``; None if nothing does, or its supervisor was killed."""
    if not (home / "fleet").is_dir():
        return None
    platform = Files(home).platform()
    return platform if platform is not None and procfs.alive(platform.pid) else None


def platform_at(urls: Sequence[str]) -> LocalPlatform:
    """Return processes known by their addresses only."""
    processes = [
        LocalProcess(name=url.partition("://")[2], pid=None, started=0.0, restarts=0, url=url) for url in urls
    ]
    return LocalPlatform(pid=0, started=0.0, model_file="", api="", processes=processes)


def look(platform: LocalPlatform) -> Look:
    """Ask every process at once; one that does not answer within a second is shown as silent."""
    pids = {process.pid for process in platform.processes if process.pid is not None}
    used = procfs.usage(pids) if pids else {}
    with ThreadPoolExecutor(max_workers=max(1, len(platform.processes))) as pool:
        asked = [pool.submit(_ask, process) for process in platform.processes]
        seen = tuple(
            msgspec.structs.replace(each.result(), usage=used.get(process.pid or 0))
            for process, each in zip(platform.processes, asked, strict=True)
        )
    return Look(at=time.time(), api=platform.api, model_file=platform.model_file, processes=seen)


def _ask(process: LocalProcess) -> Seen:
    try:
        metrics = parse(_get(f"{process.url}/metrics").decode())
    except (urllib3.exceptions.HTTPError, ValueError):
        return Seen(process=process)
    service = next((labels["service"] for labels, _ in metrics.series(INFO)), "")
    shelf = _document(f"{process.url}/v1/snapshots", Shelf) if service == Process.FAISS else None
    told = _document(f"{process.url}/status", Told) if service in _TELLING else None
    return Seen(process=process, metrics=metrics, service=service, told=told or Told(), shelf=shelf)


def _document(url: str, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(_get(url), type=kind)
    except (urllib3.exceptions.HTTPError, msgspec.MsgspecError):
        return None


def _get(url: str) -> bytes:
    answer = _HTTP.request("GET", url)
    if answer.status != 200:
        raise urllib3.exceptions.HTTPError(f"{url} answered {answer.status}")
    return answer.data
