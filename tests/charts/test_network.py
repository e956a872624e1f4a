"""The NetworkPolicies of the whole platform allow the edges of ``charts/sluice/edges.yaml`` and nothing else.

Judged statically: the test node's bridge CNI does not enforce policies. The peers outside get selectors that tell them
apart, and a stranger beside and outside the namespace asks for everything.
"""

from pathlib import Path

import pytest
import yaml

from charts.objects import Objects
from charts.policy import RULES
from charts.policy.network import Endpoint
from charts.rendering import Helm, Scenario, edges

PORTS = {
    "dns": [("TCP", 53), ("UDP", 53)],
    "kafka": [("TCP", 9092), ("TCP", 9094)],
    "mongo": [("TCP", 27018)],
    "redis": [("TCP", 6380)],
    "s3": [("TCP", 9000)],
    "kube-apiserver": [("TCP", 6443)],
    "ingress-controller": [],
    "prometheus": [],
}
CREDENTIALS = {"mongo": {"existingSecret": "mongo"}, "redis": {"existingSecret": "redis"}}
S3 = {"s3": {"url": "s3://bucket/sluice"}}


@pytest.fixture
def rendered(helm: Helm, tmp_path: Path, store: dict) -> Objects:
    peers = {
        name: {"selectors": [{"namespaceSelector": {"matchLabels": {"peer": name}}}]}
        | ({"ports": sorted({port for _, port in ports})} if ports else {})
        for name, ports in PORTS.items()
    }
    values = {
        "kafka": {"brokers": "kafka:9092"},
        **CREDENTIALS,
        "networkPolicy": {"peers": peers},
        "store": store,
    }
    file = tmp_path / "peers-values.yaml"
    file.write_text(yaml.safe_dump({"global": values}))
    return helm.render(Scenario("sluice", file))._replace(
        peers=endpoints(set(PORTS) - ({"s3"} if not store else set()))
    )


def endpoints(names: set[str]) -> tuple[Endpoint, ...]:
    known = [
        Endpoint(name, {}, frozenset(PORTS[name]), {"peer": name}, outside=True) for name in sorted(names)
    ]
    every = frozenset(port for ports in PORTS.values() for port in ports)
    beside = Endpoint("neighbour", {"app": "other"}, every, outside=True)
    return (*known, beside, Endpoint("stranger", {}, every, {"peer": "stranger"}, outside=True))


@pytest.mark.parametrize("store", [{}, S3], ids=["claim", "s3"])
def test_policies_allow_the_declared_edges_and_no_others(rendered: Objects) -> None:
    told = list(RULES["edges_are_the_declared_ones"](rendered))
    assert not told, "\n".join(told)


@pytest.mark.parametrize("store", [S3], ids=["s3"])
def test_every_declared_edge_has_both_its_ends_in_the_rendering(rendered: Objects) -> None:
    """An edge of a component that nobody installs would be allowed and denied alike."""
    known = {pod.labels["app.kubernetes.io/component"] for pod in rendered.pods()} | set(PORTS)
    assert {end for edge in edges()["edges"] for end in (edge["from"], edge["to"])} == known


@pytest.mark.parametrize("store", [{}], ids=["claim"])
def test_nobody_reaches_a_snapshot_server_that_is_not_used(rendered: Objects) -> None:
    s3 = Endpoint("s3", {}, frozenset(PORTS["s3"]), {"peer": "s3"}, outside=True)
    told = list(RULES["edges_are_the_declared_ones"](rendered._replace(peers=(s3,))))
    assert told
    assert all("→ s3:9000/TCP is declared, but a policy denies it" in one for one in told)
