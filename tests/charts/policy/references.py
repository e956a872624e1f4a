"""Every name that an object mentions is an object of the rendering, the user's own, or may be missing."""

from collections.abc import Iterator

from charts.objects import Object, Objects, Pod, title

SNAPSHOTS = "sluice-snapshots"
"""The claim that the chart ``sluice`` makes once; trainer and Faiss charts installed beside it mount the same."""


def pods_find_what_they_mount(objects: Objects) -> Iterator[str]:
    """A Secret, ConfigMap or claim is optional, made by the chart, or named in the values as existing.

    Otherwise a pod would wait for it for ever, and ``helm install --wait`` with it.
    """
    for pod in objects.pods():
        for kind, reference in _references(pod):
            name = reference.get("name") or reference.get("secretName") or reference.get("claimName")
            there = _exists(objects, kind, name) or name in objects.named | {SNAPSHOTS}
            if not reference.get("optional") and not there:
                yield f"{pod.name}: {kind} {name} is neither optional, made here, nor named in the values"


def pods_run_under_their_own_account(objects: Objects) -> Iterator[str]:
    """A pod names a ServiceAccount that the chart makes or the values name; ``default`` belongs to others.

    Jobs and tests run before or beside those, without a token, so the namespace's own does.
    """
    for pod in objects.pods():
        account = pod.spec.get("serviceAccountName", "default")
        if not pod.lasting and account == "default":
            continue
        if not _exists(objects, "ServiceAccount", account) and account not in objects.named:
            yield f"{pod.name}: ServiceAccount {account} is neither made here nor named in the values"


def containers_mount_what_the_pod_has(objects: Objects) -> Iterator[str]:
    """Every mount has its volume, every volume a mount, and no two mounts of a container share a path."""
    for pod in objects.pods():
        volumes = {volume["name"] for volume in pod.spec.get("volumes", [])}
        volumes |= {claim["metadata"]["name"] for claim in pod.origin["spec"].get("volumeClaimTemplates", [])}
        mounts = [
            (one["name"], one["mountPath"], i) for i, c in enumerate(pod.containers()) for one in _mounts(c)
        ]
        if unknown := {name for name, _, _ in mounts} ^ volumes:
            yield f"{pod.name}: mounts and volumes disagree over {', '.join(sorted(unknown))}"
        if len({(path, index) for _, path, index in mounts}) < len(mounts):
            yield f"{pod.name}: two volumes are mounted at one path"


def configured_pods_are_replaced(objects: Objects) -> Iterator[str]:
    """A pod with settings from a ConfigMap of the chart carries a checksum, so that a change of it restarts the pod."""
    for pod in objects.pods():
        made = [name for kind, one in _references(pod) if kind == "ConfigMap" and (name := one.get("name"))]
        own = [name for name in made if _exists(objects, "ConfigMap", name)]
        if own and pod.lasting and not any(key.startswith("checksum/") for key in pod.annotations):
            yield f"{pod.name}: takes {', '.join(own)} without a checksum annotation"


def backends_are_services_here(objects: Objects) -> Iterator[str]:
    """An Ingress leads to a Service of the rendering, at a port it has; its TLS Secret is the user's."""
    for ingress in objects.of("Ingress"):
        for rule in ingress["spec"].get("rules", []):
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                if not _has_port(objects, backend):
                    yield f"{title(ingress)}: no Service {backend['name']} with port {backend['port']}"
        for tls in ingress["spec"].get("tls", []):
            if tls["secretName"] not in objects.named:
                yield f"{title(ingress)}: TLS Secret {tls['secretName']} is not named in the values"


def _references(pod: Pod) -> Iterator[tuple[str, Object]]:
    for volume in pod.spec.get("volumes", []):
        yield from _of_volume(volume)
    for container in pod.containers():
        for source in container.get("envFrom", []):
            yield from _known(source, {"secretRef": "Secret", "configMapRef": "ConfigMap"})
        for variable in container.get("env", []):
            kinds = {"secretKeyRef": "Secret", "configMapKeyRef": "ConfigMap"}
            yield from _known(variable.get("valueFrom", {}), kinds)
    for reference in pod.spec.get("imagePullSecrets", []):
        yield "Secret", reference


def _of_volume(volume: Object) -> Iterator[tuple[str, Object]]:
    kinds = {"secret": "Secret", "configMap": "ConfigMap"}
    yield from _known(volume, {**kinds, "persistentVolumeClaim": "PersistentVolumeClaim"})
    for source in volume.get("projected", {}).get("sources", []):
        yield from _known(source, kinds)


def _known(found: Object, kinds: dict[str, str]) -> Iterator[tuple[str, Object]]:
    for field, kind in kinds.items():
        if field in found:
            yield kind, found[field]


def _exists(objects: Objects, kind: str, name: str | None) -> bool:
    return any(one["metadata"]["name"] == name for one in objects.of(kind))


def _mounts(container: Object) -> list[Object]:
    return container.get("volumeMounts", [])


def _has_port(objects: Objects, backend: Object) -> bool:
    services = [one for one in objects.of("Service") if one["metadata"]["name"] == backend["name"]]
    known = [
        value
        for one in services
        for port in one["spec"]["ports"]
        for value in (port.get("name"), port["port"])
    ]
    return any(value in known for value in backend["port"].values())
