"""The local fleet: Faiss processes as pods, steered through files that the supervisor and the pods read.

``<home>/fleet/`` holds ``pods.json`` (written by the supervisor: what runs), ``canary.replicas`` (written
by the controller: what should run), ``<pod>.snapshots`` (written by the controller: what each should hold;
it plays the part of the downward-API file), ``epoch`` (the highest that has acted, changed under ``epoch.lock``),
``owner`` (the model that all this is about) and ``platform.json`` (written by the supervisor while it runs, for
whoever watches). Where several models run side by side, all but ``platform.json`` lie in ``<home>/fleet/<model>/``,
for each model its own.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

import msgspec
import structlog
import urllib3

from sluice.errors import StaleEpoch, StorageUnavailable
from sluice_operator.pod_report import reported
from sluice_operator.rollout.actions import GroupName
from sluice_operator.rollout.observation import Fleet, Group, Pod

FENCE_S: Final = 1.0
_LOG = structlog.get_logger()
_HTTP: Final = urllib3.PoolManager(timeout=urllib3.Timeout(1.0), retries=False)


class LocalPod(msgspec.Struct, frozen=True, kw_only=True):
    """One Faiss process."""

    name: str
    group: GroupName
    url: str


class LocalProcess(msgspec.Struct, frozen=True, kw_only=True):
    """One service as it runs: ``started`` in Unix seconds, ``url`` answers ``/metrics``; no ``pid`` = it fell over."""

    name: str
    pid: int | None
    started: float
    restarts: int
    url: str


class LocalPlatform(msgspec.Struct, frozen=True, kw_only=True):
    """What a supervisor runs: its own process id and start, the models' files (comma separated), the API's address."""

    pid: int
    started: float
    model_file: str
    api: str
    processes: list[LocalProcess]


class Files:
    """The files of a fleet folder: the home's, or that of ``model`` in it."""

    def __init__(self, home: Path, model: str = "") -> None:
        self.folder = home / "fleet" / model
        self.folder.mkdir(parents=True, exist_ok=True)

    def claim(self, owner: str) -> None:
        """Begin anew if another model had this folder before: its epochs and snapshots say nothing about this one."""
        if not (file := self.folder / "owner").exists() or file.read_text() != owner:
            for old in (*self.folder.glob("*.snapshots"), self.folder / "epoch"):
                old.unlink(missing_ok=True)
        replace(file, owner.encode())

    def wanted(self, pod: str) -> Path:
        """Return the file that names the snapshots a pod should hold."""
        return self.folder / f"{pod}.snapshots"

    def pods(self) -> list[LocalPod]:
        """Return what the supervisor runs."""
        try:
            return msgspec.json.decode((self.folder / "pods.json").read_bytes(), type=list[LocalPod])
        except FileNotFoundError:
            return []

    def set_pods(self, pods: list[LocalPod]) -> None:
        """Tell what runs."""
        replace(self.folder / "pods.json", msgspec.json.encode(pods))

    def platform(self) -> LocalPlatform | None:
        """Return what the supervisor last told; None if none runs."""
        try:
            return msgspec.json.decode((self.folder / "platform.json").read_bytes(), type=LocalPlatform)
        except FileNotFoundError:
            return None

    def set_platform(self, platform: LocalPlatform | None) -> None:
        """Tell what runs; None = the supervisor ends."""
        if platform is not None:
            replace(self.folder / "platform.json", msgspec.json.encode(platform))
        else:
            (self.folder / "platform.json").unlink(missing_ok=True)

    def canary_replicas(self) -> int:
        """Return how many canary processes should run."""
        try:
            return int((self.folder / "canary.replicas").read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def set_canary_replicas(self, replicas: int) -> None:
        """Say how many canary processes should run."""
        replace(self.folder / "canary.replicas", str(replicas).encode())

    @contextmanager
    def fenced(self, epoch: int) -> Iterator[None]:
        """Let the body act alone, as of ``epoch``.

        Raises :class:`StaleEpoch` if a higher one has acted before, and :class:`StorageUnavailable` if another
        process holds the fence for longer than ``FENCE_S``.
        """
        with (self.folder / "epoch.lock").open("a") as lock:
            _take(lock)  # until it is closed
            newest = self._epoch()
            if epoch < newest:
                raise StaleEpoch(f"fleet epoch {epoch} was replaced by {newest}; decide anew")
            replace(self.folder / "epoch", str(epoch).encode())
            yield

    def _epoch(self) -> int:
        """Return the highest epoch that has acted; a damaged file fences nothing and is mended by the next act."""
        try:
            return int((self.folder / "epoch").read_text())
        except FileNotFoundError:
            return 0
        except ValueError as error:  # routing and releases have fences of their own
            _LOG.error(
                "fleet epoch is damaged, written anew", file=str(self.folder / "epoch"), reason=str(error)
            )
            return 0


class LocalFleet:
    """:class:`~sluice_operator.controller.FleetPort` over processes of this machine."""

    def __init__(self, home: Path, model: str = "") -> None:
        self._files = Files(home, model)

    def observe(self) -> Fleet:
        """See :class:`~sluice_operator.controller.FleetPort`."""
        pods = [(pod.group, _ask(pod)) for pod in self._files.pods()]
        stable = tuple(pod for group, pod in pods if group is GroupName.STABLE)
        canary = tuple(pod for group, pod in pods if group is GroupName.CANARY)
        return Fleet(
            stable=Group(desired=len(stable), pods=stable),
            canary=Group(desired=self._files.canary_replicas(), pods=canary),
        )

    def want(self, group: GroupName, snapshots: tuple[str, ...], epoch: int) -> None:
        """See :class:`~sluice_operator.controller.FleetPort`."""
        document = msgspec.json.encode(snapshots)
        with self._files.fenced(epoch):
            for pod in self._files.pods():
                if pod.group is group:
                    replace(self._files.wanted(pod.name), document)

    def scale_canary(self, replicas: int, epoch: int) -> None:
        """See :class:`~sluice_operator.controller.FleetPort`."""
        with self._files.fenced(epoch):
            if replicas != self._files.canary_replicas():
                self._files.set_canary_replicas(replicas)


def _ask(pod: LocalPod) -> Pod:
    try:
        return reported(pod.name, _HTTP.request("GET", f"{pod.url}/v1/snapshots").data)
    except (urllib3.exceptions.HTTPError, msgspec.DecodeError) as error:
        _LOG.debug("pod silent", pod=pod.name, reason=str(error))
        return Pod(name=pod.name, ready=False)


def _take(lock: TextIO) -> None:
    """Lock a file; it is held for microseconds, unless its holder was stopped just then."""
    deadline = time.monotonic() + FENCE_S
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StorageUnavailable("another controller holds the fleet's fence; end it") from None
            time.sleep(0.005)


def replace(path: Path, data: bytes) -> None:
    """Replace a file at once and durably, unless it says so already."""
    if path.exists() and path.read_bytes() == data:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())  # or a power cut might leave the new name with nothing in it
    temporary.replace(path)
