"""Variables called ``SLUICE_*`` are settings of the process that the container runs, with values it would take."""

import re
from collections.abc import Iterator

import msgspec

from charts.objects import Object, Objects
from sluice import settings
from sluice.errors import InvalidSetting
from sluice.settings import PREFIX, Settings
from sluice_faiss.settings import FaissSettings
from sluice_operator.settings import OperatorSettings
from sluice_recommender.preparing import PrepareSettings
from sluice_recommender.settings import ApiSettings, ProfilesSettings
from sluice_trainer.settings import TrainerSettings

PROCESSES: dict[tuple[str, str], type[Settings]] = {
    ("sluice/operator", ""): OperatorSettings,
    ("sluice/trainer", ""): TrainerSettings,
    ("sluice/faiss", ""): FaissSettings,
    ("sluice/recommender", "api"): ApiSettings,
    ("sluice/recommender", "profiles"): ProfilesSettings,
    ("sluice/recommender", "prepare"): PrepareSettings,
}
"""Image and first argument → the settings of what runs."""

WRITTEN = {"SLUICE_HOME", "SLUICE_CACHE", "SLUICE_LEDGER_FOLDER"}
LISTENING = {"SLUICE_LISTEN_PORT", "SLUICE_METRICS_PORT", "SLUICE_STATUS_PORT"}


def variables_are_settings(objects: Objects) -> Iterator[str]:
    """A variable that no setting is read from is a typo: nobody would ever read it."""
    for pod in objects.pods():
        for container in pod.containers():
            given = [one for one in container.get("env", []) if one["name"].startswith(PREFIX)]
            kind = process(container)
            known = {PREFIX + field.name.upper() for field in msgspec.structs.fields(kind)} if kind else set()
            for one in given:
                if one["name"] not in known:
                    runs = kind.__name__ if kind else "no process of Sluice"
                    yield f"{pod.name}: container {container['name']}: {one['name']} is no setting of {runs}"


def values_are_accepted(objects: Objects) -> Iterator[str]:
    """What a chart writes out as a setting, the process would accept at its start."""
    for pod in objects.pods():
        for container in pod.containers():
            plain = {one["name"]: one["value"] for one in container.get("env", []) if "value" in one}
            try:
                settings.read(process(container) or Settings, plain)
            except InvalidSetting as error:
                yield f"{pod.name}: container {container['name']}: {error}"


def variables_are_named_once(objects: Objects) -> Iterator[str]:
    """No variable is given twice: the last one would win, silently."""
    for pod in objects.pods():
        for container in pod.containers():
            names = [one["name"] for one in container.get("env", [])]
            for name in sorted({name for name in names if names.count(name) > 1}):
                yield f"{pod.name}: container {container['name']}: {name} is given twice"


def paths_are_mounted(objects: Objects) -> Iterator[str]:
    """A setting that is a path of the pod leads into a mount, and one that is written to into a writable one."""
    for pod in objects.pods():
        for container in pod.containers():
            mounts = {mount["mountPath"]: mount for mount in container.get("volumeMounts", [])}
            for name, path in _plain(container).items():
                for one in path.split(",") if path.startswith("/") else []:
                    above = [mount for place, mount in mounts.items() if f"{one}/".startswith(f"{place}/")]
                    place = f"{pod.name}: container {container['name']}: {name} is {one}, "
                    if not above:
                        yield place + "where nothing is mounted"
                    elif name in WRITTEN and all(mount.get("readOnly") for mount in above):
                        yield place + "which is read-only"


def processes_listen_where_pods_say(objects: Objects) -> Iterator[str]:
    """The port a process is told is one that its container declares, at an address that others reach."""
    for pod in objects.pods():
        for container in pod.spec["containers"]:
            given = _plain(container)
            declared = {str(port["containerPort"]) for port in container.get("ports", [])}
            for name in LISTENING & {one["name"] for one in container.get("env", [])}:
                place = f"{pod.name}: container {container['name']}: "
                if given.get(name) not in declared:
                    yield f"{place}{name} is {given.get(name)}, a port that it does not declare"
                host = name.replace("_PORT", "_HOST")
                if given.get(host) not in ("0.0.0.0", "::"):
                    yield f"{place}{host} is {given.get(host)}, so no probe reaches it; set 0.0.0.0 or ::"


def _plain(container: Object) -> dict[str, str]:
    """Return the settings that the container says outright."""
    variables = container.get("env", [])
    return {
        one["name"]: one["value"] for one in variables if one["name"].startswith(PREFIX) and "value" in one
    }


def process(container: Object) -> type[Settings] | None:
    """Return the settings type of what a container runs, by its image and first argument."""
    repository = re.sub(r"(:[^:/]+)?(@.+)?$", "", container["image"])
    for (image, argument), kind in PROCESSES.items():
        if repository.endswith(image) and (container.get("args") or [""])[0] == argument:
            return kind
    return None
