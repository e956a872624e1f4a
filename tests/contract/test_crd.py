"""The RecommenderModel's CRD: current, structural, and of one mind with the types and the samples."""

import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from sluice import crd, models
from sluice.model import ModelSpec

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "manifests" / "samples").glob("*.yaml"))
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "number": float}


def schema(kind: crd.Kind = crd.MODEL) -> dict[str, Any]:
    (version,) = yaml.safe_load((ROOT / kind.file).read_text())["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


def misfits(value: Any, shape: dict[str, Any], place: str = "$") -> list[str]:
    """What an API server would refuse in ``value``, fields that it would prune included."""
    kind = shape.get("type")
    if kind is None:
        fits = isinstance(value, int | str) if shape.get("x-kubernetes-int-or-string") else True
        return [] if fits else [f"{place}: neither integer nor string"]
    if not isinstance(value, TYPES[kind]) or (kind == "integer" and isinstance(value, bool)):
        return [f"{place}: not {kind}"]
    size, found = len(value) if isinstance(value, str | list | dict) else 0, []
    noun = {"string": "Length", "array": "Items", "object": "Properties"}.get(kind, "")
    if size < shape.get(f"min{noun}", 0) or size > shape.get(f"max{noun}", size):
        found.append(f"{place}: {size} is too few or too many")
    if kind == "integer" and not shape.get("minimum", value) <= value <= shape.get("maximum", value):
        found.append(f"{place}: {value} out of range")
    if "enum" in shape and value not in shape["enum"]:
        found.append(f"{place}: not one of {shape['enum']}")
    if "pattern" in shape and not re.search(shape["pattern"].replace("$", r"\Z"), value):
        found.append(f"{place}: does not match")
    if kind == "array":
        found += [
            bad for i, each in enumerate(value) for bad in misfits(each, shape["items"], f"{place}[{i}]")
        ]
    if kind == "object":
        found += [f"{place}.{name}: missing" for name in shape.get("required", []) if name not in value]
        for name, child in value.items():
            below = shape.get("properties", {}).get(name, shape.get("additionalProperties"))
            if below is not None:
                found += misfits(child, below, f"{place}.{name}")
            elif "properties" in shape and not shape.get("x-kubernetes-preserve-unknown-fields"):
                found.append(f"{place}.{name}: unknown")
    return found


def nodes(shape: dict[str, Any]) -> list[dict[str, Any]]:
    below = [*shape.get("properties", {}).values()]
    below += [shape[name] for name in ("items", "additionalProperties") if isinstance(shape.get(name), dict)]
    return [shape, *(node for each in below for node in nodes(each))]


def test_the_file_is_what_the_types_generate():
    done = subprocess.run(
        [sys.executable, "-m", "sluice.crd", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_a_file_that_is_not_current_is_noticed(tmp_path):
    def check() -> int:
        command = [sys.executable, "-m", "sluice.crd", "--check"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60).returncode

    assert check() == 1
    (tmp_path / crd.FOLDER).mkdir(parents=True)
    for kind in crd.KINDS:
        (tmp_path / kind.file).write_text(crd.render(kind) + "\n")
        assert check() == 1
        (tmp_path / kind.file).write_text(crd.render(kind))
    assert check() == 0


@pytest.mark.parametrize("kind", crd.KINDS, ids=lambda kind: kind.name)
def test_the_schema_is_structural(kind):
    for node in nodes(schema(kind)):
        assert not set(node) & {"$ref", "anyOf", "oneOf", "allOf", "$defs", "title"}, node
        assert node.get("type") in TYPES or node.get("x-kubernetes-int-or-string"), node
        assert "additionalProperties" not in node or "properties" not in node, node
        assert node.get("type") != "array" or "items" in node, node


@pytest.mark.parametrize("kind", crd.KINDS, ids=lambda kind: kind.name)
def test_every_list_map_and_text_is_bounded(kind):
    for node in nodes(schema(kind)["properties"]["spec"]):
        if node.get("type") == "array":
            assert "maxItems" in node
        if isinstance(node.get("additionalProperties"), dict):
            assert "maxProperties" in node
        if node.get("type") == "string":
            assert "maxLength" in node or "enum" in node


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_every_sample_fits_the_schema_and_the_types(sample):
    for document in yaml.safe_load_all(sample.read_text()):
        if document.get("kind") != "RecommenderModel":
            continue
        assert misfits(document, schema()) == []
        models.parse(yaml.safe_dump(document).encode(), sample.name)


def test_there_are_samples():
    assert SAMPLES


FULL = {
    "algorithm": {"type": "GMF", "parameters": {"dimension": 64, "rate": "0.05"}},
    "source": {"name": "shop", "eventWeights": {"view": "1", "order": "6.5"}, "attributionWindow": "500ms"},
    "snapshots": {"interval": "10m", "events": 100_000, "historyLimit": 10, "pin": "gmf-000000001-ab"},
    "serving": {"stableRef": {"name": "a"}, "canaryRef": {"name": "b"}, "excludeSeen": False},
    "rollout": {
        "onFailure": "Pause",
        "progressDeadline": "15m",
        "paused": True,
        "steps": [
            {"shadow": {"events": 2_000}},
            {"gate": {"names": ["recall"], "timeout": "30m"}},
            {"setWeight": 5},
            {"pause": {"duration": "60s"}},
            {"pause": {}},
        ],
        "gates": [
            {
                "name": "recall",
                "source": "Prequential",
                "metric": "recall@20",
                "compareTo": "Stable",
                "margin": "0.02",
                "minSamples": 1_000,
                "onTimeout": "Proceed",
                "dryRun": True,
            },
            {"name": "fidelity", "source": "Snapshot", "metric": "indexRecall", "min": "0.98", "max": "1"},
        ],
    },
}
BAD = [
    ("algorithm", None),
    ("algorithm", {"type": "Magic"}),
    ("algorithm.parameters", {"d": 1.5}),
    ("algorithm.parameters", {str(number): 1 for number in range(33)}),
    ("algorithm.parameters", {"d": [1]}),
    ("source.name", "Shop"),
    ("source.name", "x" * 64),
    ("source.name", "-a"),
    ("source.name", 7),
    ("source.eventWeights", {"view": 1}),
    ("source.eventWeights", {"view": "one"}),
    ("source.eventWeights", {"view": "-1"}),
    ("source.attributionWindow", "10"),
    ("source.attributionWindow", "1.5m"),
    ("source.attributionWindow", "1234567890s"),
    ("snapshots.interval", "10 m"),
    ("snapshots.interval", ""),
    ("snapshots.events", 0),
    ("snapshots.events", "100"),
    ("snapshots.events", 1_000_000_001),
    ("snapshots.historyLimit", 2),
    ("snapshots.historyLimit", 101),
    ("snapshots.pin", "no_underscores"),
    ("serving.stableRef", {}),
    ("serving.stableRef.name", "UPPER"),
    ("serving.excludeSeen", "yes"),
    ("rollout.onFailure", "Explode"),
    ("rollout.paused", 1),
    ("rollout.steps", [{}] * 33),
    ("rollout.steps.2.setWeight", 101),
    ("rollout.steps.2.setWeight", -1),
    ("rollout.steps.2.setWeight", True),
    ("rollout.steps.0.shadow", {"events": 0}),
    ("rollout.steps.1.gate.names", []),
    ("rollout.steps.1.gate.names", ["a"] * 17),
    ("rollout.steps.1.gate.names", "recall"),
    ("rollout.gates.0.metric", "recall at 20"),
    ("rollout.gates.0.metric", "x" * 41),
    ("rollout.gates.0.source", "Oracle"),
    ("rollout.gates.0.margin", 0.02),
    ("rollout.gates.0.margin", "2%"),
    ("rollout.gates.0.margin", "1e-2"),
    ("rollout.gates.0.minSamples", 0),
    ("rollout.gates.0.compareTo", "Yesterday"),
    ("rollout.gates.0.onTimeout", "Wait"),
    ("rollout.gates.0.extra", 1),
    ("rollout.gates.0.name", None),
    ("typo", {}),
]


def changed(place: str, value: Any) -> dict[str, Any]:
    made = deepcopy(FULL)
    *above, last = place.split(".")
    node: Any = made
    for name in above:
        node = node[int(name)] if isinstance(node, list) else node[name]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return made


def test_a_spec_with_every_field_fits_both_the_schema_and_the_types():
    spec = msgspec.convert(FULL, ModelSpec)
    assert misfits(FULL, schema()["properties"]["spec"]) == []
    written = msgspec.json.decode(msgspec.json.encode(spec))
    assert misfits(written, schema()["properties"]["spec"]) == []
    assert set(FULL) == set(schema()["properties"]["spec"]["properties"])


@pytest.mark.parametrize(("place", "value"), BAD, ids=[f"{place}={value!r:.20}" for place, value in BAD])
def test_what_the_types_refuse_the_schema_refuses_too(place, value):
    bad = changed(place, value)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(bad, ModelSpec)
    assert misfits(bad, schema()["properties"]["spec"])


def test_rules_across_fields_stand_in_the_schema_for_steps_and_gates():
    rollout = schema()["properties"]["spec"]["properties"]["rollout"]["properties"]
    for name in ("steps", "gates"):
        rules = rollout[name]["items"]["x-kubernetes-validations"]
        assert rules
        fields = rollout[name]["items"]["properties"]
        for rule in rules:
            assert set(re.findall(r"self\.(\w+)", rule["rule"])) <= set(fields)
            assert rule["message"]
