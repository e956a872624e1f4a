"""Rendered Kubernetes objects as the checks ask for them: by kind, and as pods with what they come from."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

Object = dict[str, Any]

LASTING = ("Deployment", "StatefulSet", "DaemonSet")
_TEMPLATED = (*LASTING, "Job")


class Pod(NamedTuple):
    """The pods that one object makes; ``origin`` is that object."""

    origin: Object
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: Object

    @property
    def name(self) -> str:
        """Kind and name of the object that makes the pods."""
        return title(self.origin)

    @property
    def lasting(self) -> bool:
        """Whether the pods serve until they are taken away; a Job's end by themselves."""
        return self.origin["kind"] in LASTING

    def containers(self) -> Iterator[Object]:
        """Yield the containers, those that run first included."""
        yield from self.spec.get("initContainers", [])
        yield from self.spec["containers"]


class Objects(NamedTuple):
    """One rendering, and what it is judged by.

    ``values`` are those that the user gave, ``crds`` the generated definitions, ``edges`` the declared ones, ``peers``
    the endpoints outside that policies are tried with.
    """

    all: list[Object]
    values: Mapping[str, Any] = {}
    namespace: str = "shop"
    crds: Mapping[str, Object] = {}
    edges: Mapping[str, Any] = {}
    peers: tuple[Any, ...] = ()

    def of(self, *kinds: str) -> list[Object]:
        """Return the objects of these kinds."""
        return [found for found in self.all if found["kind"] in kinds]

    @property
    def named(self) -> set[str]:
        """Return the words in the values: an object called so is the user's own."""
        return set(words(self.values))

    def pods(self) -> list[Pod]:
        """Return the pods of every object that makes any."""
        return [_pod(found) for found in self.all if found["kind"] in (*_TEMPLATED, "CronJob", "Pod")]


def parse(text: str) -> list[Object]:
    """Return the objects of a rendered chart, those of lists included."""
    return [found for document in yaml.load_all(text, Loader) for found in _flat(document)]


def title(found: Object) -> str:
    """Return kind and name as messages tell them."""
    return f"{found['kind']}/{found['metadata']['name']}"


def annotations(found: Object) -> dict[str, str]:
    """Return the annotations, none as well as empty ones."""
    return found["metadata"].get("annotations") or {}


def matches(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a label selector chooses what has these labels; the empty one chooses everything."""
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(_expression(one, labels) for one in selector.get("matchExpressions", []))


def words(value: Any) -> Iterator[str]:
    """Yield every string within ``value``."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from words(inner)


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML in which a key that is there twice is an error, as an API server has it."""


def _mapping(loader: Any, node: yaml.MappingNode) -> Object:
    made: Object = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in made:
            raise yaml.constructor.ConstructorError(
                None, None, f"{key!r} is there twice", key_node.start_mark
            )
        made[key] = loader.construct_object(value_node, deep=True)
    return made


Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def _flat(document: Object | None) -> list[Object]:
    if not document:
        return []
    return document["items"] if document["kind"].endswith("List") and "items" in document else [document]


def _pod(found: Object) -> Pod:
    template = found if found["kind"] == "Pod" else found["spec"].get("template")
    if found["kind"] == "CronJob":
        template = found["spec"]["jobTemplate"]["spec"]["template"]
    metadata = template.get("metadata") or {}
    return Pod(found, metadata.get("labels") or {}, metadata.get("annotations") or {}, template["spec"])


def _expression(one: Object, labels: Mapping[str, str]) -> bool:
    key, values = one["key"], one.get("values", [])
    return {
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }[one["operator"]]
