"""Who chooses which pods: Services, Deployments, budgets, autoscalers, spreading, monitors.

A Service, budget or monitor says whose pods it is for by its name: that of the Deployment or StatefulSet, or that and
one of the endings below. So a label too few, which adds other pods, is told, and a label wrong, which leaves none, too.
"""

from collections.abc import Iterator

from charts.objects import LASTING, Object, Objects, Pod, matches, title

ENDINGS = ("-pods", "-api")
"""``home-faiss-pods`` is the headless Service of ``home-faiss``, ``x-recommender`` that of ``x-recommender-api``."""

VARYING = ("helm.sh/chart", "app.kubernetes.io/version")
"""Labels that change with a chart's version, which a selector, being immutable, cannot follow."""


def controllers_share_no_pods(objects: Objects) -> Iterator[str]:
    """A Deployment's or StatefulSet's selector chooses its own pods and nobody else's: stable's are not canary's."""
    for owner in objects.of(*LASTING):
        selector = owner["spec"]["selector"]
        for pod in objects.pods():
            own = pod.origin is owner
            if matches(selector, pod.labels) is not own:
                yield f"{title(owner)}: its selector {'misses its own' if own else 'chooses'} pods of {pod.name}"


def selectors_hold_through_upgrades(objects: Objects) -> Iterator[str]:
    """No selector names what a later version of the chart says otherwise."""
    for owner in objects.of(*LASTING):
        for label in set(VARYING) & set(owner["spec"]["selector"].get("matchLabels", {})):
            yield f"{title(owner)}: selects by {label}, which an upgrade changes"


def services_choose_what_they_are_called_after(objects: Objects) -> Iterator[str]:
    """A Service chooses exactly the pods it is named after, at a port they declare."""
    for service in objects.of("Service"):
        chosen = _chosen(objects, {"matchLabels": service["spec"]["selector"]})
        yield from _named_after(service, chosen, objects)
        for port in service["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            for pod in chosen:
                if target not in _ports(pod):
                    yield f"{title(service)}: leads to port {target}, which {pod.name} does not declare"


def budgets_match_their_pods(objects: Objects) -> Iterator[str]:
    """A PodDisruptionBudget chooses the pods of one Deployment, and lets a node be drained."""
    for budget in objects.of("PodDisruptionBudget"):
        yield from _named_after(budget, _chosen(objects, budget["spec"]["selector"]), objects)
        if budget["spec"].get("maxUnavailable") in (0, "0%") or budget["spec"].get("minAvailable") == "100%":
            yield f"{title(budget)}: never lets a pod go, so a node can never be drained"


def autoscalers_have_their_target(objects: Objects) -> Iterator[str]:
    """An HPA scales something of this rendering that sets no ``replicas`` against it, and scales down slowly."""
    for scaler in objects.of("HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        found = [one for one in objects.of(target["kind"]) if one["metadata"]["name"] == target["name"]]
        if not found:
            yield f"{title(scaler)}: scales {target['kind']}/{target['name']}, which is not there"
        elif "replicas" in found[0]["spec"]:
            yield f"{title(scaler)}: {title(found[0])} sets replicas, so every upgrade undoes the autoscaler"
        window = scaler["spec"].get("behavior", {}).get("scaleDown", {}).get("stabilizationWindowSeconds", 0)
        if window < 300:
            yield f"{title(scaler)}: scales down after {window} s, not after 300 or more"


def faiss_leaves_replicas_to_others(objects: Objects) -> Iterator[str]:
    """Neither faiss Deployment says ``replicas``: operator and autoscaler do, and Helm would undo it."""
    for owner in objects.of("Deployment"):
        if owner["metadata"]["labels"].get("sluice.dev/track") and "replicas" in owner["spec"]:
            yield f"{title(owner)}: says replicas, which the operator decides"


def pods_spread_among_their_own(objects: Objects) -> Iterator[str]:
    """Topology spread and anti-affinity count the pods they belong to, and no others."""
    for pod in objects.pods():
        for selector in _spreading(pod):
            others = [one for one in _chosen(objects, selector) if one.origin is not pod.origin]
            if others or not matches(selector, pod.labels):
                yield f"{pod.name}: spreads among {', '.join(one.name for one in others) or 'none'}, not its own"


def monitors_find_pods(objects: Objects) -> Iterator[str]:
    """A ServiceMonitor finds Services, a PodMonitor pods, and each the port it names."""
    for monitor in objects.of("ServiceMonitor"):
        found = [
            one for one in objects.of("Service") if _monitored(monitor, one["metadata"].get("labels", {}))
        ]
        known = {port.get("name") for service in found for port in service["spec"]["ports"]}
        for endpoint in monitor["spec"]["endpoints"]:
            if endpoint["port"] not in known:
                yield f"{title(monitor)}: no Service that it selects has a port {endpoint['port']}"
    for monitor in objects.of("PodMonitor"):
        pods = [pod for pod in objects.pods() if _monitored(monitor, pod.labels)]
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            if lacking := [pod.name for pod in pods if endpoint["port"] not in _ports(pod)] or not pods:
                yield f"{title(monitor)}: port {endpoint['port']} is not found at {lacking}"


def _named_after(found: Object, chosen: list[Pod], objects: Objects) -> Iterator[str]:
    name = found["metadata"]["name"]
    names = {name, *(name + ending for ending in ENDINGS), *(name.removesuffix(ending) for ending in ENDINGS)}
    wanted = {title(one) for one in objects.of(*LASTING) if one["metadata"]["name"] in names}
    if len(wanted) != 1 or {pod.name for pod in chosen} != wanted:
        yield f"{title(found)}: chooses {_listed(pod.name for pod in chosen)}, its name says {_listed(wanted)}"


def _listed(names: Iterator[str] | set[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _chosen(objects: Objects, selector: Object) -> list[Pod]:
    return [pod for pod in objects.pods() if matches(selector, pod.labels)]


def _ports(pod: Pod) -> set[str | int]:
    ports = [port for container in pod.spec["containers"] for port in container.get("ports", [])]
    return {value for port in ports for value in (port.get("name"), port["containerPort"])}


def _spreading(pod: Pod) -> Iterator[Object]:
    for constraint in pod.spec.get("topologySpreadConstraints", []):
        yield constraint["labelSelector"]
    terms = pod.spec.get("affinity", {}).get("podAntiAffinity", {})
    for term in terms.get("requiredDuringSchedulingIgnoredDuringExecution", []):
        yield term["labelSelector"]
    for weighted in terms.get("preferredDuringSchedulingIgnoredDuringExecution", []):
        yield weighted["podAffinityTerm"]["labelSelector"]


def _monitored(monitor: Object, labels: dict[str, str]) -> bool:
    return matches(monitor["spec"]["selector"], labels)
