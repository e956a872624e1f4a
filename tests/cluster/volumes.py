"""Static volumes for claims: folders of this machine, for there is no provisioner."""

import shutil
from pathlib import Path
from typing import Any, Final

from cluster import layout
from cluster.api import Api, ApiError

ONE_WRITER: Final = tuple(f"volume-{number}" for number in range(1, 7))
SHARED: Final = ("shared-1", "shared-2")
_SIZE: Final = "20Gi"
_PATH: Final = "/api/v1/persistentvolumes"


def offer(api: Api) -> None:
    """Make the volumes that are not there, and empty those that a deleted claim left behind."""
    for name in (*ONE_WRITER, *SHARED):
        if _phase(api, name) in {"Released", "Failed", "Absent"}:
            _renew(api, name)


def manifest(name: str, folder: Path) -> dict[str, Any]:
    """Return one volume: an offer to claims without a storage class."""
    mode = "ReadWriteMany" if name in SHARED else "ReadWriteOnce"
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "accessModes": [mode],
            "capacity": {"storage": _SIZE},
            "hostPath": {"path": str(folder), "type": "Directory"},
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
        },
    }


def _renew(api: Api, name: str) -> None:
    api.delete(f"{_PATH}/{name}")
    folder = layout.state() / "volumes" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    folder.chmod(0o777)  # fsGroup does nothing for a host's folder, and pods are not root
    api.apply(f"{_PATH}/{name}", manifest(name, folder))


def _phase(api: Api, name: str) -> str:
    try:
        found = api.get(f"{_PATH}/{name}")
    except ApiError as error:
        if error.status != 404:
            raise
        return "Absent"
    return str(found.get("status", {}).get("phase", "Pending"))
