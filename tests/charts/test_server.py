"""What a real API server says of the rendered objects: all are taken, and none is warned of under ``restricted``.

etcd and kube-apiserver alone: nothing runs, so it is validation and admission that are tried, Pod Security included. A
Deployment that breaks the standard is only warned of, which counts as refused here.
"""

import pytest
import yaml

from charts.objects import Object
from charts.rendering import Helm, Scenario, scenarios
from charts.server import Server


@pytest.fixture(scope="module")
def restricted(api_server: Server) -> Server:
    """The API server with a namespace for each file of values, all of them restricted."""
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    made = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        for name in ("charts-unrestricted", *(f"charts-{scenario}" for scenario in scenarios()))
    ]
    api_server.ask("apply", "-f", "-", text=yaml.safe_dump_all(made))
    return api_server


@pytest.mark.parametrize("scenario", scenarios(), ids=str)
def test_a_real_api_server_takes_every_object_without_a_warning(
    restricted: Server, helm: Helm, scenario: Scenario
) -> None:
    namespace = f"charts-{scenario}"
    assert dry_run(restricted, namespace, helm.template(scenario, namespace=namespace)) == ""


def test_a_real_api_server_warns_of_a_deployment_that_is_not_restricted(restricted: Server) -> None:
    pod = {"containers": [{"name": "x", "image": "x:1", "securityContext": {"privileged": True}}]}
    warned = dry_run(restricted, "charts-unrestricted", yaml.safe_dump(deployment(pod)))
    assert "would violate PodSecurity" in warned


def dry_run(server: Server, namespace: str, text: str) -> str:
    """Let the API server judge what it would take; return its warnings."""
    done = server.kubectl(
        "apply", "--dry-run=server", "--validate=strict", "-n", namespace, "-f", "-", text=text
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def deployment(pod: Object) -> Object:
    labels = {"app": "x"}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": spec}
