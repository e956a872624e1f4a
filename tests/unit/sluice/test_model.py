"""RecommenderModel files: read, linted, with one sentence per problem that names field and fix."""

from copy import deepcopy

import msgspec
import pytest
import yaml

from sluice import models
from sluice.errors import InvalidModel
from sluice.lint import check
from sluice.model import ModelSpec, RecommenderModel, seconds, spec_hash

GOOD = {
    "apiVersion": "sluice.dev/v1alpha1",
    "kind": "RecommenderModel",
    "metadata": {"name": "home", "namespace": "shop", "labels": {"team": "a"}},
    "spec": {
        "algorithm": {"type": "GMF", "parameters": {"dimension": 64}},
        "source": {"name": "shop", "eventWeights": {"view": "1", "cart": "3"}},
        "rollout": {
            "steps": [
                {"shadow": {"events": 100}},
                {"gate": {"names": ["recall"]}},
                {"setWeight": 5},
                {"gate": {"names": ["errors"]}},
                {"setWeight": 50},
                {"pause": {}},
            ],
            "gates": [
                {
                    "name": "recall",
                    "source": "Prequential",
                    "metric": "recall@20",
                    "compareTo": "Stable",
                    "margin": "0.02",
                },
                {"name": "errors", "source": "Online", "metric": "errorRate", "max": "0.01"},
                {
                    "name": "hits",
                    "source": "Online",
                    "metric": "hitRate",
                    "compareTo": "Stable",
                    "margin": "0",
                },
                {"name": "fidelity", "source": "Snapshot", "metric": "indexRecall", "min": "0.98"},
                {"name": "order", "source": "Prequential", "metric": "mrr", "min": "0.1", "max": "0.9"},
            ],
        },
    },
}


def with_(place: str, value: object) -> dict:
    """The good model with one field set, or removed if ``value`` is ``...``."""
    made = deepcopy(GOOD)
    *above, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    node = made
    for part in above:
        node = node[part] if isinstance(node, list) else node.setdefault(part, {})
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return made


def parse(document: object) -> RecommenderModel:
    return models.parse(yaml.safe_dump(document).encode(), "home.yaml")


def test_a_sound_model_is_read():
    model = parse(GOOD)
    assert model.key == "shop.home"
    assert model.spec.source.event_weights == {"view": "1", "cart": "3"}
    assert model.spec.snapshots.interval == "10m"
    assert model.spec.rollout.steps[2].set_weight == 5


def test_only_algorithm_and_name_are_needed():
    bare = {**GOOD, "metadata": {"name": "m"}, "spec": {"algorithm": {"type": "Popular"}}}
    model = parse(bare)
    assert model.key == "default.m"
    assert model.spec == msgspec.convert({"algorithm": {"type": "Popular"}}, ModelSpec)


G = "spec.rollout.gates"
S = "spec.rollout.steps"
ONLINE = {"name": "errors", "source": "Online", "metric": "errorRate", "max": "0.01"}
LINT = [
    ("apiVersion", "v1", ["apiVersion is v1", "write sluice.dev/v1alpha1"]),
    ("kind", "Recommender", ["kind is Recommender", "write RecommenderModel"]),
    (f"{S}.0", {}, ["spec.rollout.steps[0]", "exactly one of shadow, setWeight, pause, gate", "found none"]),
    (f"{S}.0", {"setWeight": 5, "pause": {}}, ["spec.rollout.steps[0]", "found setWeight and pause"]),
    (f"{S}.4.setWeight", 4, ["spec.rollout.steps[4].setWeight falls from 5 to 4", "let it rise"]),
    (f"{G}.2.name", "errors", ["spec.rollout.gates holds a name twice", "give each gate its own"]),
    (
        f"{S}.1.gate.names",
        ["nope"],
        ["spec.rollout.steps[1].gate names nope", "add it to spec.rollout.gates"],
    ),
    (
        f"{S}.1.gate.names",
        ["hits"],
        ["steps[1] waits for the online gate hits at weight 0", "put a setWeight"],
    ),
    (f"{S}.2.setWeight", 0, ["steps[3] waits for the online gate errors at weight 0", "put a setWeight"]),
    (f"{G}.0.compareTo", ..., ["spec.rollout.gates[recall] needs either min/max or compareTo"]),
    (f"{G}.0.min", "0.1", ["spec.rollout.gates[recall] needs either min/max or compareTo"]),
    (f"{G}.0.margin", ..., ["spec.rollout.gates[recall].margin is missing", "say how much worse"]),
    (f"{G}.0.margin", "-0.01", ["spec.rollout.gates[recall].margin is -0.01", "give 0 or more"]),
    (f"{G}.0.margin", "2", ["spec.rollout.gates[recall].margin is 2", "not percents"]),
    (f"{G}.1.max", "0", ["spec.rollout.gates[errors].max is 0", "more than 0"]),
    (f"{G}.1.max", "1", ["spec.rollout.gates[errors].max is 1", "less than 1"]),
    (f"{G}.1.min", "0.001", ["spec.rollout.gates[errors] needs max and nothing else"]),
    (f"{G}.1.margin", "0.001", ["spec.rollout.gates[errors].margin goes with compareTo only"]),
    (
        f"{G}.1",
        {**ONLINE, "metric": "p99Milliseconds", "max": "0.01"},
        ["max is 0.01", "0.1 to 10000.0 milli"],
    ),
    (f"{G}.1", {**ONLINE, "metric": "p99Milliseconds", "max": "60000"}, ["max is 60000", "milliseconds"]),
    (
        f"{G}.2",
        {"name": "hits", "source": "Online", "metric": "hitRate", "min": "1"},
        ["min is 1", "below 1"],
    ),
    (
        f"{G}.2",
        {"name": "hits", "source": "Online", "metric": "hitRate", "max": "0"},
        ["max is 0", "more than"],
    ),
    (f"{G}.3.onTimeout", "Proceed", ["gates[fidelity].onTimeout does not go with source Snapshot"]),
    (f"{S}.1.gate.names", ["recall", "recall"], ["steps[1].gate.names holds a name twice"]),
    (f"{S}.1.gate.timeout", "0s", ["steps[1].gate.timeout is 0s", "give a longer one"]),
    ("spec.rollout.progressDeadline", "0m", ["spec.rollout.progressDeadline is 0m"]),
    ("spec.snapshots.interval", "0s", ["spec.snapshots.interval is 0s"]),
    (
        f"{S}.3.gate",
        {"names": ["hits"], "timeout": "10m"},
        ["steps[3] decides hits at most 600 s after the first weight", "1800 s later", "lengthen"],
    ),
    (f"{G}.4.min", "0.95", ["spec.rollout.gates[order].min 0.95 is above max 0.9"]),
    (f"{G}.0.metric", "ndcg@10", ["spec.rollout.gates[recall].metric is ndcg@10", "recall@k", "mrr"]),
    (f"{G}.0.metric", "recall@", ["spec.rollout.gates[recall].metric is recall@"]),
    (f"{G}.0.metric", "recall@0", ["spec.rollout.gates[recall].metric is recall@0"]),
    (f"{G}.0.metric", "recall@ten", ["spec.rollout.gates[recall].metric is recall@ten"]),
    (
        f"{G}.1.metric",
        "recall@20",
        ["spec.rollout.gates[errors].metric is recall@20", "hitRate, errorRate, p99"],
    ),
    (
        f"{G}.1",
        {**ONLINE, "max": ..., "min": "0.1"},
        ["spec.rollout.gates[errors] needs max and nothing else"],
    ),
    (f"{G}.2.compareTo", "Popular", ["spec.rollout.gates[hits].compareTo of hitRate can only be Stable"]),
    (
        f"{G}.3",
        {"name": "fidelity", "source": "Snapshot", "metric": "m", "compareTo": "Stable", "margin": "0"},
        ["spec.rollout.gates[fidelity].compareTo does not go with source Snapshot", "give min or max"],
    ),
    (
        "spec.snapshots",
        {"interval": "10m\n"},
        ["spec.snapshots.interval ends with a line break", "remove it"],
    ),
    ("metadata.name", "home\n", ["metadata.name ends with a line break"]),
    (f"{G}.0.margin", "0.02\n", ["spec.rollout.gates[0].margin ends with a line break"]),
]


@pytest.mark.parametrize(("place", "value", "words"), LINT, ids=[f"{p}={v!r:.25}" for p, v, _ in LINT])
def test_a_rule_that_is_broken_names_the_field_and_the_fix(place, value, words):
    if isinstance(value, dict):
        value = {key: each for key, each in value.items() if each is not ...}
    with pytest.raises(InvalidModel) as refused:
        parse(with_(place, value))
    fitting = [each for each in refused.value.problems if all(word in each for word in words)]
    assert len(fitting) == 1, refused.value.problems
    assert fitting[0].startswith("home.yaml: ")


def test_every_problem_is_told_at_once():
    document = with_(f"{S}.0", {})
    document["kind"] = "X"
    document["spec"]["rollout"]["gates"][0]["margin"] = "-1"
    with pytest.raises(InvalidModel) as refused:
        parse(document)
    assert len(refused.value.problems) == 3


FIELDS = [
    ("spec.algorithm", ..., "algorithm"),
    ("spec.algorithm.type", "Magic", "spec.algorithm.type"),
    ("spec.algorithm.parameters.rate", 0.5, "spec.algorithm.parameters"),
    ("spec.source.name", "Shop", "spec.source.name"),
    ("spec.source.eventWeights.view", "-1", "spec.source.eventWeights"),
    ("spec.source.eventWeights.view", 1, "spec.source.eventWeights"),
    ("spec.snapshots.interval", "10 minutes", "spec.snapshots.interval"),
    ("spec.snapshots.events", 0, "spec.snapshots.events"),
    ("spec.snapshots.historyLimit", 2, "spec.snapshots.historyLimit"),
    (f"{S}.2.setWeight", 101, "spec.rollout.steps[2].setWeight"),
    (f"{G}.0.margin", 0.02, "spec.rollout.gates[0].margin"),
    (f"{G}.0.margin", "nan", "spec.rollout.gates[0].margin"),
    ("spec.typo", 1, "typo"),
    ("metadata.name", "Home", "metadata.name"),
    ("metadata", ..., "metadata"),
    ("apiVersion", ..., "apiVersion"),
]


@pytest.mark.parametrize(("place", "value", "named"), FIELDS, ids=[f"{p}={v!r:.20}" for p, v, _ in FIELDS])
def test_a_field_of_the_wrong_type_is_named(place, value, named):
    with pytest.raises(InvalidModel) as refused:
        parse(with_(place, value))
    (problem,) = refused.value.problems
    assert named in problem
    assert problem.endswith("correct the field")


NOT_MODELS = [
    b"",
    b"text",
    b"[]",
    b"a: [",
    b"\x00",
    b"\xff\xfe\x00",
    b"a: &a [*a]",
    b"[" * 5_000,
    b"- " * 5_000,
    b"a: 1\n---\nb: 2",
]


@pytest.mark.parametrize("data", NOT_MODELS, ids=[repr(data[:12]) for data in NOT_MODELS])
def test_what_is_no_model_at_all_is_refused_in_one_sentence(data):
    with pytest.raises(InvalidModel) as refused:
        models.parse(data, "home.yaml")
    assert str(refused.value).startswith("home.yaml: ")
    assert "\n" not in str(refused.value)


def test_yaml_never_makes_python_objects(tmp_path):
    mark = tmp_path / "made"
    with pytest.raises(InvalidModel):
        models.parse(f"!!python/object/apply:os.mkdir ['{mark}']".encode(), "home.yaml")
    assert not mark.exists()


def test_a_file_that_is_absent_or_too_large_is_refused_by_name(tmp_path):
    with pytest.raises(InvalidModel, match=r"gone\.yaml: No such file"):
        models.load(tmp_path / "gone.yaml")
    with pytest.raises(InvalidModel, match="directory"):
        models.load(tmp_path)
    (tmp_path / "big.yaml").write_bytes(b"#" * (models.MAX_BYTES + 1))
    with pytest.raises(InvalidModel, match="over 262144 bytes"):
        models.load(tmp_path / "big.yaml")
    (tmp_path / "home.yaml").write_text(yaml.safe_dump(GOOD))
    assert models.load(tmp_path / "home.yaml") == parse(GOOD)


def test_lint_finds_nothing_in_the_good_model():
    assert check(parse(GOOD)) == []


@pytest.mark.parametrize(
    ("duration", "expected"), [("500ms", 0.5), ("0s", 0.0), ("90s", 90.0), ("10m", 600.0), ("2h", 7200.0)]
)
def test_durations_are_seconds(duration, expected):
    assert seconds(duration) == expected


def hashed(place: str, value: object) -> str:
    return spec_hash(parse(with_(place, value)).spec)


def test_the_spec_hash_depends_on_algorithm_and_source_alone():
    same = spec_hash(parse(GOOD).spec)
    for place, value in (
        ("metadata.name", "other"),
        ("spec.snapshots.events", 7),
        ("spec.snapshots.pin", "gmf-1"),
        ("spec.serving.excludeSeen", False),
        ("spec.rollout.paused", True),
        (f"{S}.2.setWeight", 3),
        ("spec.source.attributionWindow", "30m"),  # its default
        ("spec.source.eventWeights", {"cart": "3", "view": "1"}),  # another order
    ):
        assert hashed(place, value) == same, place
    others = {
        hashed("spec.algorithm.type", "ALS"),
        hashed("spec.algorithm.parameters.dimension", 32),
        hashed("spec.algorithm.parameters.dimension", "64"),
        hashed("spec.algorithm.parameters.extra", 1),
        hashed("spec.source.name", "other"),
        hashed("spec.source.eventWeights.cart", "4"),
        hashed("spec.source.attributionWindow", "31m"),
    }
    assert len(others | {same}) == 8


def test_the_spec_hash_is_the_same_in_every_version():
    """It names folders of checkpoints: a change of it would have every trainer start anew."""
    assert spec_hash(parse(GOOD).spec) == "a0a922385965f0ef"
