"""What a RecommenderModel's types cannot say: rules across fields. One sentence per problem, with the fix."""

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final

from sluice.model import API_VERSION, KIND, CompareTo, Gate, GateSource, ModelSpec, RecommenderModel, Step

PREQUENTIAL_METRIC: Final = re.compile(r"recall@[1-9][0-9]{0,3}|mrr")
ONLINE_METRICS: Final = ("hitRate", "errorRate", "p99Milliseconds")


def check(model: RecommenderModel) -> list[str]:
    """Return every problem of ``model``; empty if it is sound."""
    problems = []
    if model.api_version != API_VERSION:
        problems.append(f"apiVersion is {model.api_version}; write {API_VERSION}")
    if model.kind != KIND:
        problems.append(f"kind is {model.kind}; write {KIND}")
    for rule in _RULES:
        problems.extend(rule(model.spec))
    return problems


def _one_key_per_step(spec: ModelSpec) -> Iterator[str]:
    for index, step in enumerate(spec.rollout.steps):
        keys = _keys(step)
        if len(keys) != 1:
            found = " and ".join(keys) or "none"
            yield f"spec.rollout.steps[{index}] needs exactly one of shadow, setWeight, pause, gate; found {found}"


def _keys(step: Step) -> list[str]:
    named = {"shadow": step.shadow, "setWeight": step.set_weight, "pause": step.pause, "gate": step.gate}
    return [name for name, value in named.items() if value is not None]


def _weights_rise(spec: ModelSpec) -> Iterator[str]:
    before = 0
    for index, step in enumerate(spec.rollout.steps):
        if step.set_weight is not None:
            if step.set_weight < before:
                yield f"spec.rollout.steps[{index}].setWeight falls from {before} to {step.set_weight}; let it rise"
            before = step.set_weight


def _gates_are_known(spec: ModelSpec) -> Iterator[str]:
    known = {gate.name for gate in spec.rollout.gates}
    if len(known) != len(spec.rollout.gates):
        yield "spec.rollout.gates holds a name twice; give each gate its own"
    for index, step in enumerate(spec.rollout.steps):
        for name in step.gate.names if step.gate else ():
            if name not in known:
                yield f"spec.rollout.steps[{index}].gate names {name}; add it to spec.rollout.gates"


def _online_gates_have_traffic(spec: ModelSpec) -> Iterator[str]:
    online = {gate.name for gate in spec.rollout.gates if gate.source is GateSource.ONLINE}
    weight = 0
    for index, step in enumerate(spec.rollout.steps):
        weight = step.set_weight if step.set_weight is not None else weight
        for name in step.gate.names if step.gate else ():
            if name in online and weight == 0:
                yield (
                    f"spec.rollout.steps[{index}] waits for the online gate {name} at weight 0,"
                    " where no user sees the candidate; put a setWeight step before it"
                )


def _gates_are_decidable(spec: ModelSpec) -> Iterator[str]:
    for gate in spec.rollout.gates:
        yield from (f"spec.rollout.gates[{gate.name}]{problem}" for problem in _gate_problems(gate))


def _gate_problems(gate: Gate) -> Iterator[str]:
    bounded = gate.min is not None or gate.max is not None
    if bounded == (gate.compare_to is not None):
        yield " needs either min/max or compareTo"
    if gate.compare_to is not None and gate.margin is None:
        yield ".margin is missing; say how much worse the candidate may be"
    if gate.margin is not None and Decimal(gate.margin) < 0:
        yield f".margin is {gate.margin}; it may not be negative"
    if gate.min is not None and gate.max is not None and Decimal(gate.min) > Decimal(gate.max):
        yield f".min {gate.min} is above max {gate.max}"
    if gate.source is GateSource.ONLINE:
        yield from _online_problems(gate)
    elif gate.source is GateSource.PREQUENTIAL and not PREQUENTIAL_METRIC.fullmatch(gate.metric):
        yield f".metric is {gate.metric}; the prequential metrics are recall@k (recall@20) and mrr"
    elif gate.source is GateSource.SNAPSHOT and gate.compare_to is not None:
        yield ".compareTo does not go with source Snapshot; give min or max"


def _online_problems(gate: Gate) -> Iterator[str]:
    if gate.metric not in ONLINE_METRICS:
        yield f".metric is {gate.metric}; the online metrics are {', '.join(ONLINE_METRICS)}"
    elif gate.metric == "hitRate" and gate.compare_to not in (None, CompareTo.STABLE):
        yield ".compareTo of hitRate can only be Stable"
    elif gate.metric != "hitRate" and gate.max is None:
        yield f".max is missing; {gate.metric} is held against a limit"


_RULES: Final[tuple[Callable[[ModelSpec], Iterator[str]], ...]] = (
    _one_key_per_step,
    _weights_rise,
    _gates_are_known,
    _online_gates_have_traffic,
    _gates_are_decidable,
)
