"""The CRDs of RecommenderModel and IndexSnapshot, generated from their types.

``python -m sluice.crd`` writes them, ``--check`` exits 1 if a file is not current.
"""

import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from sluice import index_snapshot, structural
from sluice.index_snapshot import IndexSnapshotSpec, SnapshotPhase
from sluice.model import API_VERSION, KIND, ModelSpec, Spec
from sluice.structural import Schema

FOLDER: Final = Path("manifests/crds")

_RULES: Final = {
    "Step": [
        {
            "rule": "[has(self.shadow), has(self.setWeight), has(self.pause), has(self.gate)]"
            ".filter(present, present).size() == 1",
            "message": "a step needs exactly one of shadow, setWeight, pause, gate",
        }
    ],
    "IndexSnapshotSpec": [
        {
            "rule": "self == oldSelf",
            "message": "an IndexSnapshot never changes; another snapshot is another object",
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
_AGE: Final = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
_CONDITIONS: Final = {
    "type": "array",
    "maxItems": 8,
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
    "items": {
        "type": "object",
        "required": ["type", "status", "reason", "message", "lastTransitionTime"],
        "properties": {
            "type": {"type": "string", "maxLength": 316},
            "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
            "reason": {"type": "string", "maxLength": 1024},
            "message": {"type": "string", "maxLength": 32768},
            "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
            "lastTransitionTime": {"type": "string", "format": "date-time", "maxLength": 64},
        },
    },
}


class Kind(NamedTuple):
    """One kind: its names, what ``kubectl get`` shows of it, and the types of its spec and status."""

    name: str
    short: str
    description: str
    columns: list[Schema]
    spec: type[Spec]
    status: Schema

    @property
    def plural(self) -> str:
        """Return the name of its collection."""
        return f"{self.name.lower()}s"

    @property
    def file(self) -> Path:
        """Return where its CRD lies."""
        return FOLDER / f"{self.plural}.{API_VERSION.split('/')[0]}.yaml"


MODEL: Final = Kind(
    KIND,
    "recm",
    "What to learn, from what, and how to let each snapshot through.",
    [
        {"name": "Algorithm", "type": "string", "jsonPath": ".spec.algorithm.type"},
        {"name": "Phase", "type": "string", "jsonPath": ".status.rollout.phase"},
        {"name": "Stable", "type": "string", "jsonPath": ".status.rollout.stable"},
        {"name": "Candidate", "type": "string", "jsonPath": ".status.rollout.candidate"},
        {"name": "Weight", "type": "integer", "jsonPath": ".status.rollout.weight"},
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "Message", "type": "string", "priority": 1, "jsonPath": ".status.rollout.message"},
        _AGE,
    ],
    ModelSpec,
    {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
        "properties": {
            "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
            "conditions": _CONDITIONS,
        },
    },
)
SNAPSHOT: Final = Kind(
    index_snapshot.KIND,
    "isnap",
    "One snapshot of a model: where it lies and what it is known by. The operator makes and deletes them.",
    [
        {"name": "Model", "type": "string", "jsonPath": ".spec.model"},
        {"name": "Algorithm", "type": "string", "jsonPath": ".spec.algorithm"},
        {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
        {"name": "Digest", "type": "string", "jsonPath": ".status.shortDigest"},
        {"name": "URI", "type": "string", "priority": 1, "jsonPath": ".spec.uri"},
        _AGE,
    ],
    IndexSnapshotSpec,
    {
        "type": "object",
        "properties": {
            "phase": {"type": "string", "enum": sorted(phase.value for phase in SnapshotPhase)},
            "shortDigest": {"type": "string", "maxLength": 64},
        },
    },
)
KINDS: Final = (MODEL, SNAPSHOT)


def definition(kind: Kind = MODEL) -> Schema:
    """Return a CustomResourceDefinition."""
    group, version = API_VERSION.split("/")
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{group}"},
        "spec": {
            "group": group,
            "names": {
                "kind": kind.name,
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short],
                "categories": ["sluice"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": kind.columns,
                    "schema": {"openAPIV3Schema": _root(kind)},
                }
            ],
        },
    }


def _root(kind: Kind) -> Schema:
    return {
        "type": "object",
        "description": kind.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec_schema(kind.spec),
            "status": kind.status,
        },
    }


def spec_schema(spec: type[Spec] = ModelSpec) -> Schema:
    """Return the structural schema of ``spec``."""
    return structural.schema(spec, _RULES)


def render(kind: Kind = MODEL) -> str:
    """Return a file's text."""
    head = f"# Generated from {kind.spec.__module__} by `python -m sluice.crd`; do not edit.\n"
    return head + yaml.dump(definition(kind), Dumper=_NoAliases, sort_keys=False, width=110)


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def main() -> None:
    """Write or check the files."""
    if "--check" not in sys.argv:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for kind in KINDS:
            kind.file.write_text(render(kind))
        return
    stale = [
        str(kind.file) for kind in KINDS if not kind.file.exists() or kind.file.read_text() != render(kind)
    ]
    if stale:
        print(f"{' and '.join(stale)}: not current; run python -m sluice.crd", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
