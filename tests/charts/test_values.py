"""A chart refuses values that it does not know, and says which: a typo must not become a default that nobody chose."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from charts.rendering import CHARTS, Helm, Scenario, charts

OPEN = {"nodeAffinity", "podAffinity", "podAntiAffinity", "labelSelector", "valueFrom", "ipBlock"}
OPEN |= {"namespaceSelector", "podSelector", "ports", "extraVolumes", "global"}
"""Fields whose inside is Kubernetes' own, and which the API server checks; ``global`` of a library chart is empty."""

CHOSEN = {"annotations", "labels", "podLabels", "podAnnotations", "nodeSelector", "limits", "requests"}

REFUSED = [
    ("sluice", "components.operater=true", "operater"),
    ("sluice", "components.operator=yes", "components/operator"),
    ("sluice", "global.kafka.broker=kafka:9092", "broker"),
    ("sluice", "global.kafka.brokers=kafka", "global/kafka/brokers"),
    ("sluice", "global.networkPolicy.peers.kafka.port=9092", "port"),
    ("sluice", "global.logLevel=verbose", "global/logLevel"),
    ("sluice", "global.model.name=Home", "global/model/name"),
    ("sluice", "global.model.name=1home", "global/model/name"),
    ("recommender", "models[0]=1home", "models/0"),
    ("recommender", "api.replicas=0", "api/replicas"),
    ("sluice", "global.mongo.url=http://mongo", "global/mongo/url"),
    ("sluice", "globl.logLevel=debug", "globl"),
    ("sluice", "faiss.resorces.limits.cpu=1", "resorces"),
    ("sluice", "faiss.resources.limit.cpu=1", "limit"),
    ("sluice", "faiss.autoscaling.maxReplicas=many", "autoscaling/maxReplicas"),
    ("sluice", "recommender.api.workers=0", "api/workers"),
    ("sluice", "recommender.ingress.host=shop.example", "host"),
    ("sluice", "trainer.persistence.enabled=1", "persistence/enabled"),
    ("operator", "image.tag=latest", "image/tag"),
    ("operator", "image.pullPolicy=Sometimes", "image/pullPolicy"),
    ("operator", "replicas=2", "replicas"),
    ("trainer", "startupProbe.failureTreshold=1", "failureTreshold"),
    ("trainer", "tolerations[0].efect=NoSchedule", "efect"),
    ("faiss", "podDisruptionBudget.maxUnavailable=-1", "podDisruptionBudget/maxUnavailable"),
    ("faiss", "cache.sizeLimit=lots", "cache/sizeLimit"),
    ("recommender", "ingress.tls[0].hosts[0]=shop.example", "secretName"),
    ("recommender", "api.keys.required[0]=admin", "api/keys/required"),
]
MISSING = [
    ("sluice", "global."),
    ("trainer", "global.kafka.brokers"),
    ("faiss", "global.kafka.brokers"),
    ("recommender", "global.kafka.brokers"),
    ("operator", "global.mongo.existingSecret"),
]

IMPOSSIBLE = [
    ("faiss", "resources.limits.cpu=500m", "home-faiss: autoscaling never adds a pod"),
    ("faiss", "resources.requests.cpu=null", "aims at 200 % of the requested CPU 2, and the limit is 2"),
    ("recommender", "api.resources.limits.cpu=0.5", "shop-recommender-api: autoscaling never adds a pod"),
    ("recommender", "api.autoscaling.targetCPUUtilizationPercentage=800", "limit is 2"),
    ("faiss", "resources.limits.memory=null", "resources.limits.memory is empty"),
    ("faiss", "canary.resources.limits.cpu=1", "canary.resources.limits.memory is empty"),
]
POSSIBLE = [
    ("faiss", "resources.limits.cpu=501m"),
    ("faiss", "resources.limits.cpu=null"),
    ("faiss", "autoscaling.enabled=false,resources.limits.cpu=250m"),
    ("faiss", "memoryBytes=1000000000,resources.limits.memory=null"),
]


@pytest.mark.parametrize(("chart", "value", "words"), IMPOSSIBLE)
def test_values_that_cannot_work_together_are_refused(helm: Helm, chart: str, value: str, words: str) -> None:
    assert words in helm.refusal(
        chart, "--values", CHARTS / chart / "ci" / "default-values.yaml", "--set", value
    )


@pytest.mark.parametrize(("chart", "value"), POSSIBLE)
def test_values_at_the_bound_of_what_works_render(helm: Helm, chart: str, value: str) -> None:
    assert helm.render(Scenario(chart, CHARTS / chart / "ci" / "default-values.yaml"), "--set", value).all


@pytest.mark.parametrize(("chart", "value", "words"), REFUSED)
def test_a_wrong_value_is_refused_by_its_name(helm: Helm, chart: str, value: str, words: str) -> None:
    told = helm.refusal(chart, "--values", CHARTS / chart / "ci" / "default-values.yaml", "--set", value)
    assert "values don't meet the specifications of the schema" in told
    assert words.replace("/", ".") in told.replace("/", ".")


@pytest.mark.parametrize(("chart", "name"), MISSING)
def test_a_value_that_must_be_given_is_asked_for(helm: Helm, chart: str, name: str) -> None:
    assert name in helm.refusal(chart)


@pytest.mark.parametrize("chart", charts())
def test_schemas_are_closed_wherever_they_name_fields(chart: str) -> None:
    assert list(opened(schema(chart), "")) == []


@pytest.mark.parametrize("chart", charts())
def test_a_typo_is_refused_at_every_depth(chart: str) -> None:
    judge, values = jsonschema.Draft7Validator(schema(chart)), defaults(chart)
    judge.validate(values)
    accepted = []
    for path, found in walked(values):
        if isinstance(found, dict) and not free(chart, path):
            found["tyop"] = 1
            accepted += [".".join(map(str, path))] if judge.is_valid(values) else []
            del found["tyop"]
    assert accepted == []


@pytest.mark.parametrize("chart", charts())
def test_a_value_of_a_wrong_type_is_refused_everywhere(chart: str) -> None:
    judge, values = jsonschema.Draft7Validator(schema(chart)), defaults(chart)
    accepted = []
    for path, found in walked(values):
        if path and not isinstance(found, dict | list) and not OPEN & set(path):
            place = at(values, path[:-1])
            place[path[-1]] = [[]]
            accepted += [".".join(map(str, path))] if judge.is_valid(values) else []
            place[path[-1]] = found
    assert accepted == []


@pytest.mark.parametrize("chart", charts())
def test_defaults_meet_the_schema_and_every_field_has_one(chart: str) -> None:
    told = {".".join(path) for path, _ in named(schema(chart), ()) if path[0] != "common"}
    given = {".".join(map(str, path)) for path, _ in walked(defaults(chart)) if path}
    assert sorted(told - given) == []


def schema(chart: str) -> dict[str, Any]:
    return json.loads((CHARTS / chart / "values.schema.json").read_text())


def defaults(chart: str) -> dict[str, Any]:
    return yaml.safe_load((CHARTS / chart / "values.yaml").read_text())


def walked(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every value with its path, containers before what they hold."""
    yield path, value
    entries = (
        list(value.items())
        if isinstance(value, dict)
        else list(enumerate(value))
        if isinstance(value, list)
        else []
    )
    for key, inner in entries:
        yield from walked(inner, (*path, key))


def free(chart: str, path: tuple[Any, ...]) -> bool:
    """Whether any key may stand here: names that users choose, Kubernetes' own fields, values of another chart."""
    subchart = chart == "sluice" and bool(path) and path[0] in charts()
    return subchart or bool(path and path[-1] in CHOSEN) or bool(OPEN & set(path) - {"global", "ports"})


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def named(shape: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """The fields that the chart itself names, by path; a field with a type of Kubernetes' is one."""
    for name, inner in shape.get("properties", {}).items():
        if "description" in inner:
            yield (*path, name), inner
        else:
            yield from named(inner, (*path, name))


def opened(shape: Any, name: str) -> Iterator[str]:
    """Objects that name fields and take others too, or take anything."""
    if isinstance(shape, dict):
        closed = shape.get("additionalProperties") is False or isinstance(
            shape.get("additionalProperties"), dict
        )
        if shape.get("type") == "object" and not closed and name not in OPEN and name not in charts():
            yield name
        for key, inner in shape.items():
            if key == "properties":
                for field, one in inner.items():
                    yield from opened(one, field)
            elif key not in ("description", "default", "enum", "const"):
                yield from opened(inner, name)
    if isinstance(shape, list):
        for inner in shape:
            yield from opened(inner, name)
