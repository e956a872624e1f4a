"""What every container says: which image exactly, how much it takes, and how one sees that it is well."""

import re
from collections.abc import Iterator

from charts.objects import Objects

TAG = re.compile(r"^[^@]+:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})$")
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
PROBES = {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
FAISS = {**PROBES, "readiness": "/servez"}
"""A Faiss pod that loads one snapshot more is not ready with all it shall have, but serves what it has."""


def names_an_image_exactly(objects: Objects) -> Iterator[str]:
    """An image has a tag other than ``latest``, or a digest."""
    for pod in objects.pods():
        for container in pod.containers():
            image = container["image"]
            tagged = TAG.match(image)
            if not DIGEST.search(image) and (tagged is None or tagged["tag"] == "latest"):
                yield f"{pod.name}: image {image!r} has neither a fixed tag nor a digest"


def says_what_it_takes(objects: Objects) -> Iterator[str]:
    """Every container has requests and limits of CPU and memory."""
    for pod in objects.pods():
        for container in pod.containers():
            for side in ("requests", "limits"):
                given = container.get("resources", {}).get(side, {})
                if missing := {"cpu", "memory"} - set(given):
                    yield f"{pod.name}: container {container['name']} has no {side} of {', '.join(sorted(missing))}"


def shows_its_health(objects: Objects) -> Iterator[str]:
    """What runs on has the three probes, readiness on another path than liveness, each on a port it declares."""
    for pod in objects.pods():
        for container in pod.spec["containers"] if pod.lasting else []:
            place = f"{pod.name}: container {container['name']}"
            probes = {kind: container.get(f"{kind}Probe", {}).get("httpGet") for kind in PROBES}
            yield from (f"{place} has no {kind} probe over HTTP" for kind, get in probes.items() if not get)
            ports = {
                value
                for port in container.get("ports", [])
                for value in (port.get("name"), port["containerPort"])
            }
            for kind, get in probes.items():
                if get and get["port"] not in ports:
                    yield f"{place}: {kind} probe asks port {get['port']}, which it does not declare"
                wanted = (FAISS if "sluice.dev/track" in pod.labels else PROBES)[kind]
                if get and get["path"] != wanted:
                    yield f"{place}: {kind} probe asks {get['path']}, not {wanted}"


def stops_in_time(objects: Objects) -> Iterator[str]:
    """What runs on says how long it may drain; the default of 30 s was thought of by nobody."""
    for pod in objects.pods():
        if pod.lasting and "terminationGracePeriodSeconds" not in pod.spec:
            yield f"{pod.name}: terminationGracePeriodSeconds is not given"


def one_shot_jobs_end(objects: Objects) -> Iterator[str]:
    """A Job gives up some day, so that an upgrade that waits for it does too."""
    for job in objects.of("Job"):
        if missing := {"backoffLimit", "activeDeadlineSeconds"} - set(job["spec"]):
            yield f"Job/{job['metadata']['name']}: {', '.join(sorted(missing))} not given"
