"""What is written down of a cluster in which a test has failed."""

import re
import shutil
from pathlib import Path

from e2e.kubectl import Kubectl, Refused

_ASKED = {
    "objects.txt": (
        "get",
        "all,ingress,pvc,configmap,endpointslices,recommendermodels,indexsnapshots",
        "-o",
        "wide",
    ),
    "events.txt": ("get", "events", "--sort-by=.lastTimestamp", "-o", "wide"),
    "pods.yaml": ("get", "pods", "-o", "yaml"),
    "models.yaml": ("get", "recommendermodels,indexsnapshots", "-o", "yaml"),
    "describe.txt": ("describe", "pods"),
}


def collect(kubectl: Kubectl, folder: Path, test: str, failure: str) -> Path:
    """Write logs, events and objects of the namespace into a folder named by the test, and return it."""
    place = folder / re.sub(r"\W+", "-", test.rpartition("::")[2])
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "failure.txt").write_text(failure)
    for name, command in _ASKED.items():
        (place / name).write_text(_said(kubectl, *command))
    for pod in _said(kubectl, "get", "pods", "-o", "name").split():
        name = pod.removeprefix("pod/")
        (place / f"{name}.log").write_text(_said(kubectl, "logs", pod, "--all-containers", "--tail=5000"))
        before = _said(kubectl, "logs", pod, "--all-containers", "--previous", "--tail=2000")
        if "not found" not in before:
            (place / f"{name}.previous.log").write_text(before)
    return place


def _said(kubectl: Kubectl, *command: object) -> str:
    try:
        return kubectl(*command)
    except Refused as refused:
        return f"{refused}\n"
