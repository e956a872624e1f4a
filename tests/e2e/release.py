"""The umbrella chart installed on the node: its values, its objects by their names, its pods."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from cluster.routes import CLASS
from e2e.backing import Backing
from e2e.helm import Helm
from e2e.kubectl import Kubectl
from e2e.waiting import until

MODEL = "home"
SOURCE = "shop"
TRACKS = {"stable": f"{MODEL}-faiss", "canary": f"{MODEL}-faiss-canary"}
COMPONENTS = {
    "operator": ("operator",),
    "trainer": ("trainer",),
    "faiss": ("faiss",),
    "recommender": ("api", "profiles"),
}
"""What the pods of each service are called in their label ``app.kubernetes.io/component``."""
DRAIN_S = 10
"""How long a Faiss pod on its way out serves; longer than the node's name server keeps its address."""
PATIENCE_S = 120.0
"""How long anything may take that is a matter of seconds: the machine may be busy."""

MODEL_MANIFEST: dict[str, Any] = {
    "apiVersion": "sluice.dev/v1alpha1",
    "kind": "RecommenderModel",
    "metadata": {"name": MODEL},
    "spec": {
        "algorithm": {"type": "GMF", "parameters": {"dimension": 16}},
        "source": {"name": SOURCE},
        "snapshots": {"interval": "1h", "events": 500, "historyLimit": 5},
        "serving": {"stableRef": {"name": TRACKS["stable"]}, "canaryRef": {"name": TRACKS["canary"]}},
        "rollout": {
            "gates": [{"name": "fidelity", "source": "Snapshot", "metric": "indexRecall", "min": "0.98"}]
        },
    },
}


def values(backing: Backing, host: str) -> dict[str, Any]:
    """Return the values of a release that uses these servers and is reached as ``host``."""
    ports = {
        "mongo": {"ports": [urlsplit(backing.mongo_url).port]},
        "redis": {"ports": [urlsplit(backing.redis_url).port]},
    }
    volume = {"size": "1Gi", "storageClass": "-"}
    small = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}}
    return {
        "global": {
            "kafka": {"brokers": backing.kafka},
            "mongo": {"existingSecret": "sluice-mongo"},
            "redis": {"existingSecret": "sluice-redis"},
            "store": {"claim": volume},
            "networkPolicy": {"peers": ports},
        },
        "operator": {"resources": small, "intervalSeconds": 1},
        "trainer": {"persistence": volume, "resources": small, "checkpointSeconds": 5},
        "faiss": {"resources": small, "drainSeconds": DRAIN_S},
        "recommender": {
            "api": {"resources": small, "keys": {"existingSecret": "sluice-keys"}},
            "profiles": {"resources": small},
            "ingress": {
                "enabled": True,
                "className": CLASS,
                "hosts": [{"host": host}],
            },
        },
    }


class Release:
    """One release and what it made."""

    def __init__(self, kubectl: Kubectl, helm: Helm) -> None:
        self.kubectl, self.helm = kubectl, helm
        self.key = f"{kubectl.namespace}.{MODEL}"

    def apply_model(self) -> None:
        """Apply the RecommenderModel."""
        self.kubectl.apply(MODEL_MANIFEST)

    def pods(self, component: str, track: str = "") -> list[dict[str, Any]]:
        """Return a component's pods that are not on their way out, oldest first."""
        found = self.every_pod(component, track)
        staying = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return sorted(staying, key=lambda pod: pod["metadata"]["creationTimestamp"])

    def every_pod(self, component: str, track: str = "") -> list[dict[str, Any]]:
        """Return a component's pods, those on their way out too."""
        selector = f"app.kubernetes.io/component={component}" + (
            f",sluice.dev/track={track}" if track else ""
        )
        return self.kubectl.items("pods", selector)

    def pod(self, name: str) -> dict[str, Any]:
        """Return a pod."""
        found = self.kubectl.get("pod", name)
        assert found is not None, name
        return found

    def ready_pods(self, component: str, track: str = "") -> list[dict[str, Any]]:
        """Return those that are ready."""
        return [pod for pod in self.pods(component, track) if is_ready(pod)]

    def wait_until_settled(self) -> None:
        """Wait until every controller and autoscaler has its pods, all of them ready, and no others are there."""

        def settled() -> bool:
            controllers = [*self.kubectl.items("deployments"), *self.kubectl.items("statefulsets")]
            counts = {each["metadata"]["name"]: each["spec"]["replicas"] for each in controllers}
            scalers = [each["spec"] for each in self.kubectl.items("horizontalpodautoscalers")]
            scaled = all(counts[each["scaleTargetRef"]["name"]] >= each["minReplicas"] for each in scalers)
            pods = [
                pod for part in COMPONENTS.values() for component in part for pod in self.every_pod(component)
            ]
            return scaled and len(pods) == sum(counts.values()) and all(map(is_ready, pods))

        until(settled, "all pods that are wanted are ready, and no others are there", PATIENCE_S)

    def trainer_status(self) -> dict[str, Any]:
        """Return what the trainer tells of itself; nothing while it cannot be asked."""
        return self._told(f"services/{MODEL}-trainer:8085", "status")

    def faiss_status(self, pod: dict[str, Any]) -> dict[str, Any]:
        """Return which snapshots a Faiss pod wants and has."""
        return self._told(f"pods/{pod['metadata']['name']}:8081", "v1/snapshots")

    def loaded(self) -> list[dict[str, Any]]:
        """Return what all ready stable pods together have loaded."""
        return [
            each
            for pod in self.ready_pods("faiss", "stable")
            for each in self.faiss_status(pod).get("loaded", ())
        ]

    def snapshots(self) -> dict[str, dict[str, Any]]:
        """Return the model's IndexSnapshots by the id of the snapshot."""
        found = self.kubectl.items("indexsnapshots", f"sluice.dev/model={MODEL}")
        return {each["spec"]["snapshot"]: each for each in found}

    def stable(self) -> list[str]:
        """Return what ``<model>-stable`` tells new pods to serve."""
        return json.loads(self.kubectl.data(f"{MODEL}-stable").get("snapshots", "[]"))

    def knows_the_model(self, pod: dict[str, Any]) -> bool:
        """Return whether a pod of the API answers for the model."""
        return "items" in self._told(f"pods/{name_of(pod)}:8080", "v1/popular")

    def _told(self, what: str, path: str) -> dict[str, Any]:
        try:
            said = self.kubectl.proxied(f"/api/v1/namespaces/{self.kubectl.namespace}/{what}/proxy/{path}")
            return json.loads(said)
        except (AssertionError, ValueError):
            return {}


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod counts as ready."""
    conditions = pod["status"].get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def wanted_by(pod: Mapping[str, Any]) -> list[str]:
    """Return the snapshots that a pod's annotation names."""
    return json.loads(pod["metadata"].get("annotations", {}).get("sluice.dev/snapshots", "[]"))


def image_of(pod: Mapping[str, Any]) -> str:
    """Return the image of a pod's container."""
    return str(pod["spec"]["containers"][0]["image"])


def name_of(pod: Mapping[str, Any]) -> str:
    """Return the name of a pod."""
    return str(pod["metadata"]["name"])


def uid_of(pod: Mapping[str, Any]) -> str:
    """Return what tells a pod from another of the same name."""
    return str(pod["metadata"]["uid"])
