"""A small world that keeps every rule of the policy, for tests that break one of them at a time."""

from typing import Any

import yaml

from charts.objects import Object, Objects
from charts.policy.network import Endpoint
from charts.policy.roles import OPERATOR

EDGES = {
    "edges": [
        {"from": "api", "to": "faiss", "port": 8081},
        {"from": "prometheus", "to": "faiss", "port": 8081},
        {"from": "api", "to": "kafka"},
        {"from": "prepare", "to": "kafka"},
    ]
}
PEERS = (
    Endpoint("kafka", {}, frozenset({("TCP", 9092)}), {"peer": "kafka"}, outside=True),
    Endpoint("prometheus", {}, frozenset(), {"peer": "prometheus"}, outside=True),
    Endpoint("stranger", {}, frozenset({("TCP", 9092)}), {"peer": "stranger"}, outside=True),
)


def good() -> Objects:
    """Return the world, anew at each call."""
    definition = {"metadata": {"name": "recommendermodels.sluice.dev"}, "spec": {"group": "sluice.dev"}}
    made = [
        *_faiss("home-faiss", "stable"),
        *_faiss("home-faiss-canary", "canary"),
        *_api(),
        _operator(),
        _prepare(),
        *_roles(),
        _object("CustomResourceDefinition", "recommendermodels.sluice.dev", spec=definition["spec"])
        | {"metadata": _metadata("recommendermodels.sluice.dev", {}, {"helm.sh/resource-policy": "keep"})},
    ]
    values = {"kafka": {"existingSecret": "kafka-login"}, "ingress": {"tls": [{"secretName": "shop-tls"}]}}
    return Objects(made, values, "shop", {"recommendermodels.sluice.dev": definition}, EDGES, PEERS)


def _labels(component: str, **own: str) -> dict[str, str]:
    standard = {"name": component, "instance": "shop", "component": component}
    return {f"app.kubernetes.io/{key}": value for key, value in standard.items()} | {
        f"sluice.dev/{key}": value for key, value in own.items()
    }


def _metadata(name: str, labels: Object, annotations: Object | None = None) -> Object:
    standard = {
        "app.kubernetes.io/name": "x",
        "app.kubernetes.io/instance": "shop",
        "app.kubernetes.io/managed-by": "Helm",
        "helm.sh/chart": "x-1",
    }
    return {"name": name, "labels": standard | labels} | ({"annotations": annotations} if annotations else {})


def _object(kind: str, name: str, labels: Object | None = None, **fields: Any) -> Object:
    return {"apiVersion": "v1", "kind": kind, "metadata": _metadata(name, labels or {}), **fields}


def _pod(image: str, port: int, arguments: list[str], **env: str) -> Object:
    """A pod's spec that keeps the rules, without volumes of its own."""
    return yaml.safe_load(f"""
enableServiceLinks: false
automountServiceAccountToken: false
terminationGracePeriodSeconds: 60
securityContext:
  {{runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, seccompProfile: {{type: RuntimeDefault}}}}
volumes:
- {{name: tmp, emptyDir: {{}}}}
containers:
- name: main
  image: {image}
  args: {arguments}
  env: {[{"name": name, "value": value} for name, value in env.items()]}
  ports: [{{name: http, containerPort: {port}}}]
  startupProbe: {{httpGet: {{path: /healthz, port: http}}}}
  livenessProbe: {{httpGet: {{path: /healthz, port: http}}}}
  readinessProbe: {{httpGet: {{path: /readyz, port: http}}}}
  resources: {{requests: {{cpu: 1, memory: 1Gi}}, limits: {{cpu: 1, memory: 1Gi}}}}
  volumeMounts: [{{name: tmp, mountPath: /tmp}}]
  securityContext:
    {{readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
""")


def _deployment(name: str, labels: Object, spec: Object, **fields: Any) -> Object:
    template = {"metadata": {"labels": labels}, "spec": spec}
    return _object(
        "Deployment", name, labels, spec={"selector": {"matchLabels": labels}, "template": template, **fields}
    )


def _faiss(name: str, track: str) -> list[Object]:
    labels = _labels("faiss", model="home", track=track)
    spec = _pod(
        "sluice/faiss:0.1.0",
        8081,
        [],
        SLUICE_LISTEN_HOST="0.0.0.0",
        SLUICE_LISTEN_PORT="8081",
        SLUICE_CACHE="/tmp/cache",
    )
    spec["serviceAccountName"] = name
    spec["containers"][0]["readinessProbe"]["httpGet"]["path"] = "/servez"
    spec["volumes"].append({"name": "kafka", "secret": {"secretName": "kafka-login", "defaultMode": 0o440}})
    spec["containers"][0]["volumeMounts"].append({"name": "kafka", "mountPath": "/etc/sluice/kafka"})
    spec["topologySpreadConstraints"] = [{"labelSelector": {"matchLabels": labels}}]
    ports = [{"name": "http", "port": 8081, "targetPort": "http"}]
    return [
        _deployment(name, labels, spec),
        _object("ServiceAccount", name, labels, automountServiceAccountToken=False),
        _object("Service", name, labels, spec={"selector": labels, "ports": ports}),
        _object("Service", f"{name}-pods", labels, spec={"selector": labels, "ports": ports}),
        _object(
            "PodDisruptionBudget",
            name,
            labels,
            spec={"maxUnavailable": 1, "selector": {"matchLabels": labels}},
        ),
        _object(
            "HorizontalPodAutoscaler",
            name,
            labels,
            spec={
                "scaleTargetRef": {"kind": "Deployment", "name": name},
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}},
            },
        ),
        _policy(name, labels, [("api", 8081), ("prometheus", 8081)], []),
    ]


def _api() -> list[Object]:
    labels = _labels("api")
    spec = _pod(
        "sluice/recommender:0.1.0", 8080, ["api"], SLUICE_LISTEN_HOST="0.0.0.0", SLUICE_LISTEN_PORT="8080"
    )
    spec["serviceAccountName"] = "shop-recommender-api"
    spec["volumes"].append({"name": "model", "configMap": {"name": "home-spec", "optional": True}})
    spec["containers"][0]["volumeMounts"].append({"name": "model", "mountPath": "/etc/sluice/models/home"})
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    backend = {"service": {"name": "shop-recommender", "port": {"name": "http"}}}
    rule = {
        "host": "shop.example",
        "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
    }
    endpoint = {"port": "http", "path": "/metrics"}
    rules = [{"alert": "Errors", "expr": 'rate(sluice_requests_total{namespace="shop"}[5m]) > 1'}]
    return [
        _deployment("shop-recommender-api", labels, spec, replicas=2),
        _object("ServiceAccount", "shop-recommender-api", labels, automountServiceAccountToken=False),
        _object("Service", "shop-recommender", labels, spec={"selector": labels, "ports": ports}),
        _object(
            "Ingress",
            "shop",
            spec={"rules": [rule], "tls": [{"hosts": ["shop.example"], "secretName": "shop-tls"}]},
        ),
        _object(
            "PodMonitor",
            "shop",
            spec={"selector": {"matchLabels": labels}, "podMetricsEndpoints": [endpoint]},
        ),
        _object("PrometheusRule", "shop", spec={"groups": [{"name": "shop", "rules": rules}]}),
        _policy("shop-recommender-api", labels, [], [("faiss", 8081), ("kafka", 9092)]),
    ]


def _operator() -> Object:
    labels = _labels("operator")
    spec = _pod("sluice/operator:0.1.0", 8087, [])
    spec |= {"automountServiceAccountToken": True, "serviceAccountName": "shop-operator"}
    fields = {"replicas": 1, "strategy": {"type": "Recreate"}}
    return _deployment("shop-operator", labels, spec, **fields)


def _prepare() -> Object:
    labels = _labels("prepare")
    spec = _pod("sluice/recommender:0.1.0", 1, ["prepare"], SLUICE_SOURCE="shop")
    metadata = _metadata(
        "shop-prepare",
        labels,
        {"helm.sh/hook": "pre-install", "helm.sh/hook-delete-policy": "before-hook-creation"},
    )
    job = {
        "backoffLimit": 3,
        "activeDeadlineSeconds": 600,
        "template": {"metadata": {"labels": labels}, "spec": spec},
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": job}


def _policy(name: str, labels: Object, into: list[tuple[str, int]], out: list[tuple[str, int]]) -> Object:
    def rules(field: str, edges: list[tuple[str, int]]) -> list[Object]:
        return [{field: [_peer(peer)], "ports": [{"protocol": "TCP", "port": port}]} for peer, port in edges]

    spec = {
        "podSelector": {"matchLabels": labels},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": rules("from", into),
        "egress": rules("to", out),
    }
    return _object("NetworkPolicy", name, labels, spec=spec)


def _peer(name: str) -> Object:
    if name in ("kafka", "prometheus"):
        return {"namespaceSelector": {"matchLabels": {"peer": name}}}
    return {"podSelector": {"matchLabels": {"app.kubernetes.io/component": name}}}


def _roles() -> list[Object]:
    rules = [
        {"apiGroups": [group], "resources": [resource], "verbs": sorted(verbs)}
        for (group, resource), verbs in OPERATOR.items()
    ]
    subject = {"kind": "ServiceAccount", "name": "shop-operator", "namespace": "shop"}
    return [
        _object("ServiceAccount", "shop-operator", automountServiceAccountToken=False),
        _object("Role", "shop-operator", _labels("operator"), rules=rules),
        _object(
            "RoleBinding",
            "shop-operator",
            roleRef={"kind": "Role", "name": "shop-operator"},
            subjects=[subject],
        ),
        _policy("shop-operator", _labels("operator"), [], []),
        _policy("shop-prepare", _labels("prepare"), [], [("kafka", 9092)]),
    ]
