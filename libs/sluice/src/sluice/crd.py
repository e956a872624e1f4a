"""The CRD of RecommenderModel, generated from the types in :mod:`sluice.model`.

``python -m sluice.crd`` writes it, ``--check`` exits 1 if the file is not current. CRDs take structural
schemas only: no ``$ref``, no ``anyOf`` with null, no ``additionalProperties: false`` beside properties.
"""

import sys
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from sluice.model import API_VERSION, KIND, ModelSpec

FILE: Final = Path("manifests/crds/recommendermodels.sluice.dev.yaml")
Schema = dict[str, Any]

_RULES: Final = {
    "Step": [
        {
            "rule": "[has(self.shadow), has(self.setWeight), has(self.pause), has(self.gate)]"
            ".filter(present, present).size() == 1",
            "message": "a step needs exactly one of shadow, setWeight, pause, gate",
        }
    ],
    "Gate": [
        {
            "rule": "has(self.compareTo) != (has(self.min) || has(self.max))",
            "message": "a gate needs either min/max or compareTo",
        },
        {"rule": "!has(self.compareTo) || has(self.margin)", "message": "compareTo needs a margin"},
    ],
}
_COLUMNS: Final = [
    {"name": "Algorithm", "type": "string", "jsonPath": ".spec.algorithm.type"},
    {"name": "Phase", "type": "string", "jsonPath": ".status.rollout.phase"},
    {"name": "Stable", "type": "string", "jsonPath": ".status.rollout.stable"},
    {"name": "Candidate", "type": "string", "jsonPath": ".status.rollout.candidate"},
    {"name": "Weight", "type": "integer", "jsonPath": ".status.rollout.weight"},
    {"name": "Message", "type": "string", "priority": 1, "jsonPath": ".status.rollout.message"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]
_OPEN: Final = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def definition() -> Schema:
    """Return the CustomResourceDefinition."""
    group, version = API_VERSION.split("/")
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"recommendermodels.{group}"},
        "spec": {
            "group": group,
            "names": {
                "kind": KIND,
                "plural": "recommendermodels",
                "singular": "recommendermodel",
                "shortNames": ["recm"],
                "categories": ["sluice"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _COLUMNS,
                    "schema": {"openAPIV3Schema": _root()},
                }
            ],
        },
    }


def _root() -> Schema:
    return {
        "type": "object",
        "description": "What to learn, from what, and how to let each snapshot through.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec_schema(),
            "status": _OPEN,
        },
    }


def spec_schema() -> Schema:
    """Return the structural schema of ``spec``."""
    made = msgspec.json.schema(ModelSpec)
    definitions = made["$defs"]
    return _structural(made, definitions)


def _structural(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """Inline references and drop what a structural schema may not hold."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        inlined = _structural(definitions[name], definitions)
        return inlined | ({"x-kubernetes-validations": _RULES[name]} if name in _RULES else {})
    if "anyOf" in schema:
        return _union([each for each in schema["anyOf"] if each != {"type": "null"}], definitions)
    kept = {key: value for key, value in schema.items() if key in _KEPT}
    if "default" in schema and isinstance(schema["default"], str | int | bool):
        kept["default"] = schema["default"]
    if "properties" in schema:
        kept["properties"] = {
            name: _structural(each, definitions) for name, each in schema["properties"].items()
        }
    if isinstance(schema.get("additionalProperties"), dict):
        kept["additionalProperties"] = _structural(schema["additionalProperties"], definitions)
    if "items" in schema:
        kept["items"] = _structural(schema["items"], definitions)
    if "enum" in schema:
        kept["type"] = "string"
    return kept


_KEPT: Final = (
    "type",
    "description",
    "required",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
)


def _union(options: list[Schema], definitions: dict[str, Schema]) -> Schema:
    if len(options) == 1:
        return _structural(options[0], definitions)
    return {"x-kubernetes-int-or-string": True}


def render() -> str:
    """Return the file's text."""
    head = "# Generated from sluice.model by `python -m sluice.crd`; do not edit.\n"
    return head + yaml.dump(definition(), Dumper=_NoAliases, sort_keys=False, width=110)


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def main() -> None:
    """Write or check the file."""
    text = render()
    if "--check" not in sys.argv:
        FILE.parent.mkdir(parents=True, exist_ok=True)
        FILE.write_text(text)
    elif not FILE.exists() or FILE.read_text() != text:
        print(f"{FILE} is not current; run python -m sluice.crd", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
