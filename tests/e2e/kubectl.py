"""kubectl, bound to one kubeconfig and one namespace."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cluster import commands
from cluster.commands import ClusterError


class Refused(AssertionError):
    """A command failed; the message is what it said."""


def run(*command: object, stdin: str | None = None, timeout_s: float = 120.0, **environment: str) -> str:
    """Run a program and return its output; raises :class:`Refused` with its errors."""
    try:
        return commands.run(*map(str, command), text=stdin, timeout_s=timeout_s, **environment)
    except ClusterError as error:
        raise Refused(str(error)) from None


class Kubectl:
    """What the tests ask of the API server."""

    def __init__(self, program: Sequence[str], kubeconfig: Path, namespace: str) -> None:
        self.program, self.kubeconfig, self.namespace = list(program), kubeconfig, namespace

    def __call__(self, *arguments: object, stdin: str | None = None, timeout_s: float = 120.0) -> str:
        """Run kubectl in the namespace and return its output."""
        bound = ("--kubeconfig", self.kubeconfig, "--namespace", self.namespace)
        return run(*self.program, *bound, *arguments, stdin=stdin, timeout_s=timeout_s)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply manifests."""
        self("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return an object, or None if there is none of that name."""
        text = self("get", kind, name, "--ignore-not-found", "-o", "json")
        return json.loads(text) if text.strip() else None

    def items(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """Return the objects of a kind that carry these labels."""
        return json.loads(self("get", kind, "--selector", selector, "-o", "json"))["items"]

    def data(self, configmap: str) -> dict[str, str]:
        """Return the data of a ConfigMap; none if it is absent."""
        found = self.get("configmap", configmap)
        return (found or {}).get("data", {})

    def proxied(self, path: str) -> str:
        """Return the answer of GET ``path`` at the API server, for instance of a pod's own HTTP port."""
        return self("get", "--raw", path)

    def evict(self, pod: str) -> None:
        """Ask for the eviction of a pod; raises :class:`Refused` with the reason (429 is ``TooManyRequests``)."""
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.namespace},
        }
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/eviction"
        self("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))

    def inside(self, pod: str, *command: object) -> str:
        """Run a command in the pod's container and return its output."""
        return self("exec", pod, "--", *command)

    def kinds(self) -> list[str]:
        """Return every kind that lives in namespaces and can be listed."""
        return self("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
