"""Pod Security ``restricted`` and what Sluice asks beyond it: own user, read-only root, no token that is not used.

The rules of https://kubernetes.io/docs/concepts/security/pod-security-standards/, written out, so that a chart that
breaks one is told which, without a cluster.
"""

from collections.abc import Iterator

from charts.objects import Object, Objects, Pod

USER = 10001
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def takes_nothing_of_the_host(objects: Objects) -> Iterator[str]:
    """No namespaces, ports or paths of the node; volumes only of the kinds that ``restricted`` allows."""
    for pod in objects.pods():
        for field in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.spec.get(field):
                yield f"{pod.name}: {field} is set"
        for volume in pod.spec.get("volumes", []):
            if refused := set(volume) - {"name"} - VOLUMES:
                yield f"{pod.name}: volume {volume['name']} is a {', '.join(refused)}"
        for container in pod.containers():
            if any(port.get("hostPort") for port in container.get("ports", [])):
                yield f"{_of(pod, container)}: hostPort is set"


def runs_as_its_own_user(objects: Objects) -> Iterator[str]:
    """``runAsNonRoot`` with user and group 10001, said by the pod, and by no container otherwise.

    With ``global.podSecurity.fixedIds`` off the cluster chooses them, and refuses whoever names any.
    """
    ids = _ids(objects)
    for pod in objects.pods():
        context = pod.spec.get("securityContext", {})
        wanted = {"runAsNonRoot": True, "runAsUser": ids, "runAsGroup": ids}
        for field, value in wanted.items():
            if context.get(field) != value:
                yield f"{pod.name}: {field} is {context.get(field)}, not {value}"
            for container in pod.containers():
                own = container.get("securityContext", {}).get(field, value)
                if own != value:
                    yield f"{_of(pod, container)}: {field} is {own}, not {value}"


def reads_mounted_secrets(objects: Objects) -> Iterator[str]:
    """Pods that mount Secrets have ``fsGroup``, unless the cluster chooses ids, and nobody else may read the files."""
    ids = _ids(objects)
    for pod in objects.pods():
        for volume in pod.spec.get("volumes", []):
            if "secret" not in volume:
                continue
            if pod.spec.get("securityContext", {}).get("fsGroup") != ids:
                yield f"{pod.name}: mounts Secrets without fsGroup {ids}, so cannot read them"
            mode = volume["secret"].get("defaultMode")
            if mode is None or mode & 0o007:
                yield f"{pod.name}: volume {volume['name']} can be read by others; set defaultMode 0440"


def gains_no_privilege(objects: Objects) -> Iterator[str]:
    """No privileges, no capabilities, the runtime's seccomp profile, plain ``/proc``."""
    for pod in objects.pods():
        for container in pod.containers():
            context = container.get("securityContext", {})
            profile = context.get("seccompProfile") or pod.spec.get("securityContext", {}).get(
                "seccompProfile", {}
            )
            wrong = {
                "privileged is set": context.get("privileged"),
                "allowPrivilegeEscalation is not false": context.get("allowPrivilegeEscalation") is not False,
                "capabilities are not dropped": "ALL" not in context.get("capabilities", {}).get("drop", []),
                "capabilities are added": context.get("capabilities", {}).get("add"),
                "seccompProfile is not RuntimeDefault": profile.get("type") != "RuntimeDefault",
                "procMount is set": context.get("procMount", "Default") != "Default",
            }
            yield from (f"{_of(pod, container)}: {words}" for words, met in wrong.items() if met)


def writes_to_volumes_only(objects: Objects) -> Iterator[str]:
    """The root file system is read-only, and ``/tmp`` a volume that ends with the pod."""
    for pod in objects.pods():
        passing = {volume["name"] for volume in pod.spec.get("volumes", []) if "emptyDir" in volume}
        for container in pod.containers():
            if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
                yield f"{_of(pod, container)}: readOnlyRootFilesystem is not true"
            mounts = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", [])}
            if mounts.get("/tmp") not in passing:
                yield f"{_of(pod, container)}: /tmp is no emptyDir"


def tells_pods_nothing_unasked(objects: Objects) -> Iterator[str]:
    """No service links, which are variables called as other people's Services; a token for the operator alone."""
    for pod in objects.pods():
        if pod.spec.get("enableServiceLinks") is not False:
            yield f"{pod.name}: enableServiceLinks is not false"
        operator = pod.lasting and pod.labels.get("app.kubernetes.io/component") == "operator"
        if pod.spec.get("automountServiceAccountToken") is not operator:
            yield f"{pod.name}: automountServiceAccountToken is not {str(operator).lower()}"
    for account in objects.of("ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield f"ServiceAccount/{account['metadata']['name']}: automountServiceAccountToken is not false"


def _ids(objects: Objects) -> int | None:
    """Return the id that pods say; none where the values leave that to the cluster."""
    chosen = objects.values.get("global", {}).get("podSecurity", {}).get("fixedIds", True)
    return USER if chosen else None


def _of(pod: Pod, container: Object) -> str:
    return f"{pod.name}: container {container['name']}"
