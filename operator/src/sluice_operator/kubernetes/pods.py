"""Serving pods: which there are, how each reports itself, and what each is told by its annotations."""

import json
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Final

import structlog
import urllib3

from sluice.errors import Conflict, StaleEpoch, StorageUnavailable
from sluice_operator.kubernetes.api import Api, NotFound, Unreachable
from sluice_operator.kubernetes.objects import EPOCH, SNAPSHOTS, PodObject, core, whole
from sluice_operator.pod_report import reported
from sluice_operator.rollout.observation import Pod

_LOG = structlog.get_logger()
FAISS_PORT: Final = 8081
PORT_NAME: Final = "http"
"""A pod that serves elsewhere says so by a container port of this name."""
ASK_S: Final = 1.0
ASKED_AT_ONCE: Final = 32
_REPORT_BYTES: Final = 1 << 20
_TRIES: Final = 3


def alive(pod: PodObject) -> bool:
    """Return whether a pod serves or will: neither terminating nor ended (evicted ones are kept as Failed)."""
    return pod.metadata.deletion_timestamp is None and pod.status.phase not in ("Succeeded", "Failed")


def in_service(pod: PodObject) -> bool:
    """Return whether Kubernetes sends requests to a pod."""
    return any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions)


def address(pod: PodObject) -> str | None:
    """Return where a pod answers; None if it does not run yet."""
    if pod.status.phase != "Running" or not pod.status.pod_ip:
        return None
    ports = (port for container in pod.spec.containers for port in container.ports)
    port = next((each.container_port for each in ports if each.name == PORT_NAME), FAISS_PORT)
    host = f"[{pod.status.pod_ip}]" if ":" in pod.status.pod_ip else pod.status.pod_ip
    return f"http://{host}:{port}"


class Reporters:
    """Asks pods how they are, all at once; who has not answered after a second is not ready."""

    def __init__(self) -> None:
        timeout = urllib3.Timeout(total=ASK_S)
        self._http = urllib3.PoolManager(num_pools=256, timeout=timeout, retries=False)
        self._threads = ThreadPoolExecutor(ASKED_AT_ONCE, thread_name_prefix="asking")

    def ask(self, pods: Iterable[PodObject]) -> dict[str, Pod]:
        """Return what each pod says, by its name."""
        asked = {pod.metadata.name: self._threads.submit(self._ask, pod) for pod in pods}
        wait(asked.values(), timeout=ASK_S * 1.2)
        return {name: _answer(name, future) for name, future in asked.items()}

    def _ask(self, pod: PodObject) -> Pod:
        name, url = pod.metadata.name, address(pod)
        if url is None:
            return Pod(name=name, ready=False)
        try:
            answer = self._http.request("GET", f"{url}/v1/snapshots", preload_content=False)
            try:
                return reported(name, _whole(answer), serving=in_service(pod))
            finally:
                answer.close()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:  # ValueError: no report
            _LOG.debug("pod silent", pod=name, reason=str(error))
            return Pod(name=name, ready=False)


def _whole(answer: urllib3.BaseHTTPResponse) -> bytes:
    """Return a body; raises ValueError for one that is too long, or that dribbles in."""
    data, deadline = b"", time.monotonic() + ASK_S
    while piece := answer.read1(_REPORT_BYTES):
        data += piece
        if len(data) > _REPORT_BYTES or time.monotonic() > deadline:
            raise ValueError("the answer is too long, or takes too long")
    return data


def _answer(name: str, future: "Future[Pod]") -> Pod:
    if not future.done():
        future.cancel()
        return Pod(name=name, ready=False)
    return future.result()


class Annotations:
    """Tells pods what to hold. An annotation of a higher epoch is left as it is."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api, self._namespace = api, namespace

    def write(self, pods: Iterable[PodObject], snapshots: tuple[str, ...], epoch: int) -> None:
        """Let every pod want ``snapshots``, as of ``epoch``.

        Raises :class:`StaleEpoch` at the first pod that was told by a later decision, and
        :class:`StorageUnavailable` if some could not be told; the others were, unless it does not answer at all.
        """
        wanted = {SNAPSHOTS: json.dumps(list(snapshots), separators=(",", ":")), EPOCH: str(epoch)}
        untold = []
        for pod in pods:
            try:
                self._tell(pod, wanted, epoch)
            except (StaleEpoch, Unreachable):
                raise
            except (Conflict, StorageUnavailable) as error:
                untold.append(f"{pod.metadata.name} ({error})")
        if untold:
            raise StorageUnavailable(f"pods could not be told what to hold: {'; '.join(untold[:3])}")

    def _tell(self, pod: PodObject, wanted: dict[str, str], epoch: int) -> None:
        """Patch one pod at the version it was read at; if that changed meanwhile, read it again."""
        path, seen = core(self._namespace, "pods", pod.metadata.name), pod
        for left in reversed(range(_TRIES)):
            if (newer := written_at(seen)) > epoch:
                raise StaleEpoch(
                    f"pod {seen.metadata.name} was told at epoch {newer}, not {epoch}; decide anew"
                )
            if wanted.items() <= seen.metadata.annotations.items():
                return
            try:
                self._api.patch(path, _patch(seen, wanted))
                return
            except NotFound:
                return
            except Conflict:
                if not left:
                    raise
            again = self._api.get(path, PodObject)
            if again is None or again.metadata.uid != pod.metadata.uid:
                return
            seen = again


def written_at(pod: PodObject) -> int:
    """Return the epoch of a pod's annotation; 0 if there is none, or somebody wrote what is no number."""
    return whole(pod.metadata.annotations, EPOCH)


def touch(api: Api, namespace: str, pod: PodObject, annotation: str, value: str) -> bool:
    """Annotate a pod so that kubelet looks at it now; return whether that was done: a failure costs only time.

    Raises :class:`Unreachable`, as then asking for another one is of no use.
    """
    body = {"metadata": {"annotations": {annotation: value}}}
    try:
        api.patch(core(namespace, "pods", pod.metadata.name), body)
    except Unreachable:
        raise
    except (Conflict, StorageUnavailable) as error:
        _LOG.debug("pod not touched", pod=pod.metadata.name, reason=str(error))
        return False
    return True


def _patch(pod: PodObject, annotations: dict[str, str]) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": pod.metadata.resource_version, "annotations": annotations}}
