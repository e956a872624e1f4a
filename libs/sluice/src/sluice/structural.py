"""Structural schemas, which is what a CRD takes, from msgspec's types.

No ``$ref``, no ``anyOf`` with null, no ``additionalProperties: false`` beside properties.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

Schema = dict[str, Any]
Rules = Mapping[str, list[Schema]]
"""CEL rules by the name of the type that they hold for."""

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


def schema(kind: type[msgspec.Struct], rules: Rules) -> Schema:
    """Return the structural schema of a type, with ``rules`` where they belong."""
    made = msgspec.json.schema(kind)
    return _Inlining(made["$defs"], rules).of(made)


class _Inlining:
    """Puts definitions in where they are referred to, and drops what a structural schema may not hold."""

    def __init__(self, definitions: Mapping[str, Schema], rules: Rules) -> None:
        self._definitions, self._rules = definitions, rules

    def of(self, given: Schema) -> Schema:
        """Return one schema without references."""
        if "$ref" in given:
            return self._named(given["$ref"].rpartition("/")[2])
        if "anyOf" in given:
            return self._union([each for each in given["anyOf"] if each != {"type": "null"}])
        kept = {key: value for key, value in given.items() if key in _KEPT}
        if isinstance(given.get("default"), str | int | bool):
            kept["default"] = given["default"]
        if "enum" in given:
            kept["type"] = "string"
        return kept | self._below(given)

    def _below(self, given: Schema) -> Schema:
        found: Schema = {}
        if "properties" in given:
            found["properties"] = {name: self.of(each) for name, each in given["properties"].items()}
        if isinstance(given.get("additionalProperties"), dict):
            found["additionalProperties"] = self.of(given["additionalProperties"])
        if "items" in given:
            found["items"] = self.of(given["items"])
        return found

    def _named(self, name: str) -> Schema:
        validations = {"x-kubernetes-validations": self._rules[name]} if name in self._rules else {}
        return self.of(self._definitions[name]) | validations

    def _union(self, options: list[Schema]) -> Schema:
        return self.of(options[0]) if len(options) == 1 else {"x-kubernetes-int-or-string": True}
