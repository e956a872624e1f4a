"""Makes what the charts repeat: the global values, values.schema.json, and copies of files from outside a chart.

Helm reads nothing outside a chart's folder, and a schema cannot refer to another chart's. So charts/common/global.yaml
is copied into each values.yaml, charts/sluice/edges.yaml and manifests/crds into the charts that need them, and each
schema is made of its values.yaml: types from the defaults, descriptions from the comments (``# -- …``), everything
else from ``# @schema {…}`` above them, whose ``type`` may be one of charts/common/types.yaml.

    python charts/generate.py [--check]
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

CHARTS: Final = Path(__file__).parent
DEPLOYED: Final = ("operator", "trainer", "faiss", "recommender")
BEGIN: Final = "# generated from charts/common/global.yaml by `charts/generate.py`; do not edit\n"
END: Final = "# end of what is generated\n"
SCALARS: Final = {str: "string", bool: "boolean", int: "integer", float: "number"}
Schema = dict[str, Any]


def generated() -> Iterator[tuple[Path, str]]:
    """Yield every generated file and what it should hold."""
    for chart in DEPLOYED:
        yield CHARTS / chart / "edges.yaml", (CHARTS / "sluice" / "edges.yaml").read_text()
    for crd in sorted((CHARTS.parent / "manifests" / "crds").glob("*.yaml")):
        yield CHARTS / "operator" / "files" / "crds" / crd.name, crd.read_text()
    types = yaml.safe_load((CHARTS / "common" / "types.yaml").read_text())
    for chart in (*DEPLOYED, "sluice"):
        values = with_global((CHARTS / chart / "values.yaml").read_text())
        yield CHARTS / chart / "values.yaml", values
        yield CHARTS / chart / "values.schema.json", schema_text(chart, values, types)


def with_global(values: str) -> str:
    """Return a values.yaml with the present global values between the marks."""
    before, rest = values.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    return before + BEGIN + (CHARTS / "common" / "global.yaml").read_text() + END + after


def schema_text(chart: str, values: str, types: dict[str, Schema]) -> str:
    """Return the values.schema.json of a chart."""
    root = yaml.compose(values)
    assert isinstance(root, yaml.MappingNode), f"{chart}/values.yaml is no mapping"
    schema = object_schema(root, values.splitlines(), types)
    shared = {"global": {"type": "object", "additionalProperties": True}}
    schema["properties"]["common"] = closed("Nothing: Helm puts the global values here too.", shared)
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": f"Values of the chart {chart}"}
    return json.dumps(head | schema, indent=2, ensure_ascii=False) + "\n"


def object_schema(node: yaml.MappingNode, lines: list[str], types: dict[str, Schema]) -> Schema:
    """Return the schema of a mapping: its keys as they are, and no others."""
    return closed("", {key.value: property_schema(key, value, lines, types) for key, value in node.value})


def property_schema(key: yaml.Node, value: yaml.Node, lines: list[str], types: dict[str, Schema]) -> Schema:
    """Return the schema of one key from its annotation, its comment and its default."""
    description, annotation = comment_above(lines, key.start_mark.line)
    known = types.get(annotation.get("type", ""))
    if known is not None:
        annotation = known | {name: text for name, text in annotation.items() if name != "type"}
    elif isinstance(value, yaml.MappingNode) and value.value:
        annotation = object_schema(value, lines, types) | annotation
    elif isinstance(value, yaml.ScalarNode):
        default = yaml.safe_load(yaml.serialize(value))
        annotation = {"type": SCALARS[type(default)]} | annotation
    else:
        raise SystemExit(f"line {key.start_mark.line + 1}: write # @schema {{type: …}} above {key.value}")
    if annotation.get("type") == "integer" and "exclusiveMinimum" in annotation:
        annotation["type"] = "number"
    return ({"description": description} if description else {}) | annotation


def comment_above(lines: list[str], line: int) -> tuple[str, Schema]:
    """Return the description and the annotation in the comment that ends just above a line."""
    first = line
    while first and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    comment = [each.strip() for each in lines[first:line]]
    annotation: Schema = {}
    for each in comment:
        if each.startswith("# @schema "):
            annotation |= yaml.safe_load(each.removeprefix("# @schema "))
    start = next((index for index, each in enumerate(comment) if each.startswith("# -- ")), len(comment))
    return re.sub(r"^-- ", "", " ".join(each.lstrip("# ") for each in comment[start:])), annotation


def closed(description: str, properties: dict[str, Schema]) -> Schema:
    """Return the schema of an object that has these properties and no others."""
    told = {"description": description} if description else {}
    return told | {"type": "object", "additionalProperties": False, "properties": properties}


def main() -> int:
    """Write what is not current; with ``--check`` only name it and return 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--check", action="store_true", help="change nothing, fail if something is not current"
    )
    check = parser.parse_args().check
    stale = [(path, text) for path, text in generated() if not path.exists() or path.read_text() != text]
    for path, text in stale:
        if check:
            print(f"{path} is not current; run python charts/generate.py", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
