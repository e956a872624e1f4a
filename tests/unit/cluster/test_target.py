"""Tests touch a cluster only if it is certain to be meant for tests."""

import json
from pathlib import Path

import pytest

from cluster import layout, target
from cluster.target import ContextRefused, accepted


@pytest.mark.parametrize("context", ["kind-sluice", "k3d-sluice"])
def test_a_context_made_for_tests_is_accepted(context: str) -> None:
    assert accepted(context, "", [context]) == context


@pytest.mark.parametrize(
    "context", ["", "production", "minikube", "my-kind-cluster", "gke_project_zone_name"]
)
def test_any_other_context_is_refused(context: str) -> None:
    with pytest.raises(ContextRefused, match="SLUICE_TEST_KUBE_CONTEXT"):
        accepted(context, "", [context])


def test_a_named_context_is_used_whatever_the_current_one_is() -> None:
    assert accepted("production", "staging", ["production", "staging"]) == "staging"


def test_a_named_context_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ContextRefused, match="stagng"):
        accepted("kind-sluice", "stagng", ["kind-sluice"])


def test_without_settings_the_cluster_is_ours() -> None:
    assert target.target({}).is_ours


def test_our_own_kubeconfig_is_ours() -> None:
    assert target.target({"KUBECONFIG": str(layout.kubeconfig())}).is_ours


def test_a_foreign_kubeconfig_is_judged_by_its_current_context(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"current-context": "production", "contexts": [{"name": "production"}]}
    monkeypatch.setattr(target, "program", Path)
    monkeypatch.setattr(target, "run", lambda *command, **environment: json.dumps(config))
    with pytest.raises(ContextRefused, match="production"):
        target.target({"KUBECONFIG": "/somewhere"})
    named = target.target({"KUBECONFIG": "/somewhere", "SLUICE_TEST_KUBE_CONTEXT": "production"})
    assert (named.context, named.is_ours) == ("production", False)
