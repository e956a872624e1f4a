"""The JSON schemas that kubeconform reads, made from the API server's OpenAPI v3 documents and from our CRDs.

kubeconform's own schemas come from the network. One file per kind holds the kind's schema and what it refers to.
An object takes the fields it declares and no other, as the API server does with ``--validate=strict``; ``null``
is refused everywhere, since in a rendered chart it is a forgotten value.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Schema = dict[str, Any]

LOCATION = "{{ .Group }}/{{ .ResourceKind }}-{{ .ResourceAPIVersion }}.json"
"""Where a kind's file lies below a folder of schemas, in kubeconform's words; the core group is called ``v1``."""

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
"""Said in each file: kubeconform reads what does not say it by draft 4, which knows no empty ``required``."""
_POINTER = "#/components/schemas/"


def write(folder: Path, documents: list[Schema]) -> None:
    """Write a file for every kind of the OpenAPI documents, one document per group and version."""
    for document in documents:
        schemas = document["components"]["schemas"]
        for name, schema in schemas.items():
            for kind in _kinds(schema):
                needed = {part: strict(schemas[part]) for part in _reachable(name, schemas)}
                _write(folder, kind, {"$ref": f"#/$defs/{name}", "$defs": needed})


def write_definitions(folder: Path, definitions: list[Schema]) -> None:
    """Write a file for every version of the CustomResourceDefinitions."""
    for definition in definitions:
        spec = definition["spec"]
        for version in spec["versions"]:
            kind = {"group": spec["group"], "kind": spec["names"]["kind"], "version": version["name"]}
            root = version["schema"]["openAPIV3Schema"]
            known = {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"type": "object"},
            }
            properties = {**known, **root.get("properties", {})}
            _write(folder, kind, strict({**root, "properties": properties}))


def strict(schema: Any) -> Any:
    """Return ``schema`` as JSON Schema, where an object that names its fields takes no other."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _value(key, value) for key, value in schema.items() if not key.startswith("x-")}
    if schema.get("x-kubernetes-int-or-string"):
        made["type"] = ["integer", "string"]
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if "properties" in schema and not open_ended:
        made["additionalProperties"] = False
    return made


def _value(key: str, value: Any) -> Any:
    if key == "$ref":
        return value.replace(_POINTER, "#/$defs/")
    if key == "properties":  # a field may be called as a keyword is
        return {name: strict(schema) for name, schema in value.items()}
    return value if key in ("default", "enum", "required") else strict(value)


def _kinds(schema: Schema) -> list[Schema]:
    """Return group, version and kind of what can be applied; what every group shares is of no one kind."""
    kinds = schema.get("x-kubernetes-group-version-kind", [])
    return kinds if len(kinds) == 1 and not kinds[0]["kind"].endswith("List") else []


def _reachable(name: str, schemas: dict[str, Schema]) -> set[str]:
    found, left = set(), [name]
    while left:
        part = left.pop()
        if part not in found:
            found.add(part)
            left.extend(_references(schemas[part]))
    return found


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(reference := schema.get("$ref"), str):
            yield reference.removeprefix(_POINTER)
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from _references(part)


def _write(folder: Path, kind: Schema, schema: Schema) -> None:
    file = folder / (kind["group"] or "v1") / f"{kind['kind'].lower()}-{kind['version']}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"$schema": _DRAFT, **schema}, separators=(",", ":")))
