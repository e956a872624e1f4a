"""NetworkPolicies against the edges of ``charts/sluice/edges.yaml``: each is allowed on both sides, nothing else is.

This is judged from the rendered policies alone: the test node's bridge CNI enforces none, so no test with real
connections could tell. The meaning is that of the API: a pod chosen by no policy of a direction is open in it, and
rules add up.
"""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from charts.objects import Object, Objects, Pod, matches

COMPONENT = "app.kubernetes.io/component"
OTHER = ("TCP", 1)
"""A port that nothing listens on: who may reach it may reach every port."""


class Endpoint(NamedTuple):
    """Who takes part: pods of a component, or a peer outside, which no policy of ours chooses."""

    name: str
    labels: Mapping[str, str]
    ports: frozenset[tuple[str, int]]
    namespace: Mapping[str, str] = {}
    address: str = "192.0.2.1"
    outside: bool = False


class Edge(NamedTuple):
    """``port`` with its protocol."""

    source: str
    target: str
    port: tuple[str, int]

    def __str__(self) -> str:
        protocol, number = self.port
        return f"{self.source} → {self.target}:{'any port' if self.port == OTHER else number}/{protocol}"


def every_pod_is_closed(objects: Objects) -> Iterator[str]:
    """Each pod is chosen by policies for both directions, so that what no rule allows is denied."""
    if not objects.of("NetworkPolicy"):
        return
    for pod in objects.pods():
        for direction in ("Ingress", "Egress"):
            if not _rules(objects, direction, pod.labels):
                yield f"{pod.name}: no NetworkPolicy limits its {direction.lower()}"


def edges_are_the_declared_ones(objects: Objects) -> Iterator[str]:
    """Who can reach whom is what the list says, between the pods of this rendering and the peers given."""
    if not objects.of("NetworkPolicy"):
        return
    endpoints = [*components(objects.pods()), *objects.peers]
    declared, allowed = set(_declared(objects, endpoints)), set(_allowed(objects, endpoints))
    yield from (f"{edge} is declared, but a policy denies it" for edge in sorted(declared - allowed))
    yield from (f"{edge} is allowed, but not declared" for edge in sorted(allowed - declared))


def components(pods: list[Pod]) -> list[Endpoint]:
    """Return the pods as endpoints; stable and canary are two of one name."""
    return [Endpoint(pod.labels.get(COMPONENT, pod.name), dict(pod.labels), _ports(pod)) for pod in pods]


def _ports(pod: Pod) -> frozenset[tuple[str, int]]:
    ports = [port for container in pod.spec["containers"] for port in container.get("ports", [])]
    return frozenset((port.get("protocol", "TCP"), port["containerPort"]) for port in ports)


def _declared(objects: Objects, endpoints: list[Endpoint]) -> Iterator[Edge]:
    outside = {end.name: end.ports for end in endpoints if end.outside}
    known = {end.name for end in endpoints}
    for edge in objects.edges["edges"]:
        if {edge["from"], edge["to"]} <= known:
            ports = [("TCP", edge["port"])] if "port" in edge else outside[edge["to"]]
            yield from (Edge(edge["from"], edge["to"], port) for port in ports)


def _allowed(objects: Objects, endpoints: list[Endpoint]) -> Iterator[Edge]:
    for source in endpoints:
        for target in endpoints:
            if source.outside and target.outside:
                continue
            for port in (*target.ports, OTHER):
                leaves = source.outside or _passes(objects, "Egress", source, target, port)
                if leaves and (target.outside or _passes(objects, "Ingress", target, source, port)):
                    yield Edge(source.name, target.name, port)


def _passes(objects: Objects, direction: str, own: Endpoint, other: Endpoint, port: tuple[str, int]) -> bool:
    """Whether policies let the pods ``own`` talk with ``other`` at ``port`` of the one that listens."""
    policies = _rules(objects, direction, own.labels)
    field = "to" if direction == "Egress" else "from"
    return not policies or any(
        _port_fits(rule.get("ports"), port) and _peer_fits(rule.get(field), other)
        for rules in policies
        for rule in rules
    )


def _rules(objects: Objects, direction: str, labels: Mapping[str, str]) -> list[list[Object]]:
    """Return the rules of each policy that limits these pods in that direction."""
    policies = [
        one["spec"] for one in objects.of("NetworkPolicy") if matches(one["spec"]["podSelector"], labels)
    ]
    return [
        one.get(direction.lower()) or []
        for one in policies
        if direction in one.get("policyTypes", ["Ingress"])
    ]


def _port_fits(ports: list[Object] | None, port: tuple[str, int]) -> bool:
    protocol, number = port
    return not ports or any(
        one.get("protocol", "TCP") == protocol and one["port"] <= number <= one.get("endPort", one["port"])
        for one in ports
    )


def _peer_fits(peers: list[Object] | None, end: Endpoint) -> bool:
    return not peers or any(_one_fits(peer, end) for peer in peers)


def _one_fits(peer: Object, end: Endpoint) -> bool:
    if block := peer.get("ipBlock"):
        address = ip_address(end.address)
        return address in ip_network(block["cidr"]) and not any(
            address in ip_network(one) for one in block.get("except", [])
        )
    home = "namespaceSelector" in peer or not end.namespace
    return (
        home
        and matches(peer.get("namespaceSelector", {}), end.namespace)
        and matches(peer.get("podSelector", {}), end.labels)
    )
