"""What is read of Kubernetes' objects, and what they are called."""

from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec

from sluice import crd
from sluice.model import API_VERSION

T = TypeVar("T")
MODEL_LABEL: Final = "sluice.dev/model"
TRACK_LABEL: Final = "sluice.dev/track"
SNAPSHOTS: Final = "sluice.dev/snapshots"
"""Annotation of a pod: the JSON list of the snapshots to hold; it reaches the pod by its downward API."""
EPOCH: Final = "sluice.dev/epoch"
"""Annotation of a pod: that of the decision which wrote it. A lower one is refused."""
UID: Final = "sluice.dev/uid"
GENERATION: Final = "sluice.dev/generation"
"""Annotations of ``<model>-spec``: whose spec it holds, and which. A lower generation of the same one is refused."""
SPEC: Final = "sluice.dev/spec"
"""Annotation of a pod: whose and which generation's ``<model>-spec`` it was last shown, as ``<uid>.<generation>``."""
REMINDED: Final = "sluice.dev/reminded"
"""Annotation of a pod: how often it was touched because it had not seen what it was told."""
COMMAND: Final = "sluice.dev/command"
"""Annotation of a RecommenderModel: what a person asks for."""
RECOMMENDER_MODELS: Final = crd.MODEL.plural
INDEX_SNAPSHOTS: Final = crd.SNAPSHOT.plural
OPERATOR: Final = "sluice-operator"


class _Read(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base: what is not named is passed over."""


class Owner(_Read, frozen=True, kw_only=True):
    """Who owns an object."""

    uid: str = ""


class Metadata(_Read, frozen=True, kw_only=True):
    """Of any object."""

    name: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: list[Owner] = []


class Listed(_Read, Generic[T], frozen=True, kw_only=True):
    """A collection."""

    items: list[T] = []


class ConfigMap(_Read, frozen=True, kw_only=True):
    """A ConfigMap."""

    metadata: Metadata
    data: dict[str, str] = {}


class Port(_Read, frozen=True, kw_only=True):
    """A named port of a container."""

    name: str = ""
    container_port: int


class Container(_Read, frozen=True, kw_only=True):
    """A container of a pod."""

    ports: list[Port] = []


class ConfigMapVolume(_Read, frozen=True, kw_only=True):
    """Which ConfigMap a volume shows."""

    name: str = ""


class Volume(_Read, frozen=True, kw_only=True):
    """A volume of a pod; ``config_map`` is None for one of another kind."""

    config_map: ConfigMapVolume | None = None


class PodSpec(_Read, frozen=True, kw_only=True):
    """What runs in a pod."""

    containers: list[Container] = []
    volumes: list[Volume] = []


class Condition(_Read, frozen=True, kw_only=True):
    """One of a pod's conditions."""

    type: str
    status: str


class PodStatus(_Read, frozen=True, kw_only=True):
    """How a pod is."""

    phase: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    conditions: list[Condition] = []


class PodObject(_Read, frozen=True, kw_only=True):
    """A pod."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Replicas(_Read, frozen=True, kw_only=True):
    """How many pods there should be; the API server leaves a 0 out."""

    replicas: int = 0


class Scale(_Read, frozen=True, kw_only=True):
    """A Deployment's size; the version is the Deployment's."""

    metadata: Metadata = Metadata()
    spec: Replicas = Replicas()


def whole(texts: Mapping[str, str], name: str) -> int:
    """Return a whole number among annotations or data; 0 if there is none, or somebody wrote what is no number."""
    try:
        return int(texts.get(name, "0"))
    except ValueError:
        return 0


def core(namespace: str, resource: str, name: str = "") -> str:
    """Return the path of a core object, or of all of its kind."""
    return _path(f"/api/v1/namespaces/{namespace}/{resource}", name)


def sluice(namespace: str, resource: str, name: str = "") -> str:
    """Return the path of one of Sluice's objects, or of all of its kind."""
    return _path(f"/apis/{API_VERSION}/namespaces/{namespace}/{resource}", name)


def scale_of(namespace: str, deployment: str) -> str:
    """Return the path of a Deployment's size."""
    return f"/apis/apps/v1/namespaces/{namespace}/deployments/{deployment}/scale"


def _path(collection: str, name: str) -> str:
    return f"{collection}/{name}" if name else collection


def labels(model: str) -> dict[str, str]:
    """Return the labels of what the operator writes about ``model``."""
    return {
        MODEL_LABEL: model,
        "app.kubernetes.io/managed-by": OPERATOR,
        "app.kubernetes.io/part-of": "sluice",
    }


def own(model: str, name: str, **metadata: Any) -> dict[str, Any]:
    """Return the metadata of an object ``name`` that the operator writes about ``model``."""
    return {"name": name, "labels": labels(model), **metadata}
