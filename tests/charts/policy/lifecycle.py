"""What Helm does with objects: hooks, what it keeps, labels by which it and people find them."""

from collections.abc import Iterator

from charts.objects import Objects, annotations, title

LABELS = (
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
)
ALONE = ("operator", "trainer")
BEFORE = ("pre-install", "pre-upgrade")


def hooks_are_cleared_away(objects: Objects) -> Iterator[str]:
    """A hook is deleted before it runs again; without that, a second upgrade fails on the first one's object."""
    for found in objects.all:
        hook = annotations(found).get("helm.sh/hook")
        if hook and "before-hook-creation" not in annotations(found).get("helm.sh/hook-delete-policy", ""):
            yield f"{title(found)}: hook {hook} has no delete policy with before-hook-creation"


def hooks_need_nothing_later(objects: Objects) -> Iterator[str]:
    """What a hook before the installation uses is a hook of lower weight itself: nothing else is there yet."""
    made = {title(one): one for one in objects.all}
    for pod in objects.pods():
        if not _before(pod.origin):
            continue
        needed = [f"ServiceAccount/{pod.spec.get('serviceAccountName', 'default')}"]
        needed += [
            f"ConfigMap/{volume['configMap']['name']}"
            for volume in pod.spec.get("volumes", [])
            if "configMap" in volume
        ]
        for name in needed:
            if name in made and not (_before(made[name]) and _weight(made[name]) < _weight(pod.origin)):
                yield f"{pod.name}: runs before {name} is there; make that a hook of lower weight"


def definitions_are_kept(objects: Objects) -> Iterator[str]:
    """A CRD survives ``helm uninstall``, unless the values say otherwise: its going deletes every model."""
    operator = objects.values.get("operator", objects.values)
    if operator.get("crds", {}).get("keep", True) is False:
        return
    for definition in objects.of("CustomResourceDefinition"):
        if annotations(definition).get("helm.sh/resource-policy") != "keep":
            yield f"{title(definition)}: has no annotation helm.sh/resource-policy: keep"


def definitions_are_the_generated_ones(objects: Objects) -> Iterator[str]:
    """A CRD of a chart is that of ``manifests/crds``, but for labels and annotations."""
    for definition in objects.of("CustomResourceDefinition"):
        generated = objects.crds.get(definition["metadata"]["name"])
        if generated is None or generated["spec"] != definition["spec"]:
            yield f"{title(definition)}: differs from manifests/crds; copy it anew"


def labels_are_standard(objects: Objects) -> Iterator[str]:
    """Every object carries the labels that Kubernetes recommends, so that a release can be listed."""
    for found in objects.all:
        labels = found["metadata"].get("labels") or {}
        if missing := [label for label in LABELS if not labels.get(label)]:
            yield f"{title(found)}: lacks {', '.join(missing)}"


def models_are_labelled(objects: Objects) -> Iterator[str]:
    """Pods of a model and of a track say so themselves as their Deployment does: the operator finds both by label."""
    for pod in objects.pods():
        own = pod.origin["metadata"].get("labels") or {}
        for label in ("sluice.dev/model", "sluice.dev/track"):
            if own.get(label) != pod.labels.get(label):
                yield f"{pod.name}: says {label} {own.get(label)}, its pods {pod.labels.get(label)}"


def objects_stay_in_the_release(objects: Objects) -> Iterator[str]:
    """An object names no namespace other than the release's, and no two have one name."""
    seen = set()
    for found in objects.all:
        namespace = found["metadata"].get("namespace", objects.namespace)
        if namespace != objects.namespace:
            yield f"{title(found)}: is in namespace {namespace}, not the release's"
        if title(found) in seen:
            yield f"{title(found)}: is there twice"
        seen.add(title(found))


def what_must_be_alone_is(objects: Objects) -> Iterator[str]:
    """One operator and one trainer of a model, never two beside each other, not even while one replaces the other."""
    for owner in objects.of("Deployment", "StatefulSet"):
        component = owner["metadata"]["labels"].get("app.kubernetes.io/component")
        if component in ALONE and owner["spec"].get("replicas") != 1:
            yield f"{title(owner)}: replicas is {owner['spec'].get('replicas')}, not 1"
        recreated = (
            owner["kind"] == "StatefulSet" or owner["spec"].get("strategy", {}).get("type") == "Recreate"
        )
        if component in ALONE and not recreated:
            yield f"{title(owner)}: strategy is not Recreate"


def _before(found: dict) -> bool:
    return any(hook in annotations(found).get("helm.sh/hook", "") for hook in BEFORE)


def _weight(found: dict) -> int:
    return int(annotations(found).get("helm.sh/hook-weight", "0"))
