"""Every rendered object is one that the API server's own schemas describe, without a field too many.

kubeconform reads schemas that are made from the OpenAPI documents of a real API server, kept in the cache for each
version of Kubernetes, and from our CRDs. Those of the Prometheus operator's kinds are told in ``monitoring.yaml``.
"""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from charts import openapi
from charts.objects import Object
from charts.rendering import Helm, Scenario, crds, scenarios
from charts.server import monitoring

SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}}
MODEL = {"apiVersion": "sluice.dev/v1alpha1", "kind": "RecommenderModel", "metadata": {"name": "x"}}


class Kubeconform:
    def __init__(self, program: str, folders: list[Path]) -> None:
        locations = [
            word for folder in folders for word in ("-schema-location", f"{folder}/{openapi.LOCATION}")
        ]
        self._command = [program, "-strict", "-output", "json", "-summary", *locations]

    def refusals(self, text: str) -> list[str]:
        done = subprocess.run(
            self._command, input=text, capture_output=True, text=True, check=False, timeout=60
        )
        found = json.loads(done.stdout)
        assert found["summary"]["valid"] + found["summary"]["invalid"] + found["summary"]["errors"] > 0
        assert found["summary"]["skipped"] == 0
        return [f"{one['kind']}/{one['name']}: {one['msg']}" for one in found["resources"] or []]

    def refusals_of(self, found: Object) -> list[str]:
        return self.refusals(yaml.safe_dump(found))


@pytest.fixture(scope="module")
def judge(kubeconform: str, kind_schemas: Path, tmp_path_factory: pytest.TempPathFactory) -> Kubeconform:
    own = tmp_path_factory.mktemp("schemas")
    openapi.write_definitions(own, [*crds().values(), *monitoring()])
    return Kubeconform(kubeconform, [kind_schemas, own])


@pytest.mark.parametrize("scenario", scenarios(), ids=str)
def test_rendered_objects_fit_their_schemas(judge: Kubeconform, helm: Helm, scenario: Scenario) -> None:
    refused = judge.refusals(helm.template(scenario))
    assert not refused, "\n".join(refused)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"ports": [{"port": 80, "targetport": "http"}]}, "targetport"),
        ({"ports": [{"port": "80"}]}, "/spec/ports/0/port"),
        ({"ports": [{"port": 80, "targetPort": []}]}, "/spec/ports/0/targetPort"),
        ({"selecter": {}}, "selecter"),
        ({"selector": None}, "/spec/selector"),
        ({"selector": {"app": 1}}, "/spec/selector/app"),
        ({"type": "NodePrt"}, "/spec/type"),
    ],
)
def test_what_the_api_server_would_not_take_is_refused(judge: Kubeconform, spec: Object, words: str) -> None:
    (refused,) = judge.refusals_of(SERVICE | {"spec": spec})
    assert words in refused


@pytest.mark.parametrize("port", [80, "http"])
def test_what_may_be_a_number_or_a_word_is_taken_as_either(judge: Kubeconform, port: object) -> None:
    assert judge.refusals_of(SERVICE | {"spec": {"ports": [{"port": 80, "targetPort": port}]}}) == []


def test_open_parts_of_a_schema_stay_open(judge: Kubeconform) -> None:
    limits = {"requests": {"cpu": 1, "memory": "1Gi", "example.com/gpu": "1"}}
    pod = {
        "containers": [{"name": "x", "image": "x:1", "resources": limits}],
        "nodeSelector": {"any": "word"},
    }
    assert (
        judge.refusals_of({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod}) == []
    )


def test_our_own_kinds_are_known(judge: Kubeconform) -> None:
    (refused,) = judge.refusals_of(MODEL | {"spec": {"algorythm": {"type": "GMF"}}})
    assert "algorythm" in refused


def test_a_kind_without_a_schema_is_refused(judge: Kubeconform) -> None:
    (refused,) = judge.refusals_of(
        {"apiVersion": "example.com/v1", "kind": "Wish", "metadata": {"name": "x"}}
    )
    assert "could not find schema for Wish" in refused
