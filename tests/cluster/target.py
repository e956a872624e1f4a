"""Which cluster tests run on: ours, or an existing one that is certain to be meant for tests."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cluster import layout
from cluster.commands import ClusterError, run
from cluster.programs import program

CONTEXT: Final = "sluice-test"
VARIABLE: Final = "SLUICE_TEST_KUBE_CONTEXT"
_FOR_TESTS: Final = ("kind-", "k3d-")


class ContextRefused(ClusterError):
    """The context that is set may be of a cluster that matters."""


@dataclass(frozen=True)
class Target:
    """A cluster: the kubeconfig (as ``KUBECONFIG`` takes it), its context, and whether we run it."""

    kubeconfig: str
    context: str
    is_ours: bool


def target(environment: Mapping[str, str] = os.environ) -> Target:
    """Return the cluster of the environment; raises :class:`ContextRefused` rather than touch an unknown one."""
    given, named = environment.get("KUBECONFIG", ""), environment.get(VARIABLE, "")
    if not named and given in {"", str(layout.kubeconfig())}:
        return Target(str(layout.kubeconfig()), CONTEXT, is_ours=True)
    config = _config(given)
    contexts = [context["name"] for context in config.get("contexts") or []]
    context = accepted(config.get("current-context", ""), named, contexts)
    return Target(given or str(Path("~/.kube/config").expanduser()), context, is_ours=False)


def accepted(current: str, named: str, contexts: list[str]) -> str:
    """Return the context to use: the one that is named, else the current one if its name says it is for tests."""
    if named:
        if named not in contexts:
            raise ContextRefused(f"{VARIABLE} names {named}, which is none of: {', '.join(contexts)}")
        return named
    if not current.startswith(_FOR_TESTS):
        raise ContextRefused(
            f"the current context {current or '(none)'} is neither kind's nor k3d's: unset KUBECONFIG, "
            f"or set {VARIABLE}={current or 'NAME'} if tests may use and change that cluster"
        )
    return current


def _config(given: str) -> dict[str, Any]:
    """Return what kubectl makes of ``KUBECONFIG``, which may name several files."""
    command = (program("kubectl"), "config", "view", "-o", "json")
    found: dict[str, Any] = json.loads(run(*command, KUBECONFIG=given))
    return found
