"""What a RecommenderModel's types cannot say: rules across fields. One sentence per problem, with the fix."""

import math
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final

from sluice.evidence import LATENCY_BOUNDS_MS
from sluice.model import (
    API_VERSION,
    KIND,
    CompareTo,
    Gate,
    GateSource,
    ModelSpec,
    OnTimeout,
    RecommenderModel,
    Step,
    seconds,
)

PREQUENTIAL_METRIC: Final = re.compile(r"recall@[1-9][0-9]{0,3}|mrr")
ONLINE_METRICS: Final = ("hitRate", "errorRate", "p99Milliseconds")
FASTEST_MS: Final = Decimal(str(LATENCY_BOUNDS_MS[0]))
SLOWEST_MS: Final = Decimal(str(LATENCY_BOUNDS_MS[-1]))


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
        names = step.gate.names if step.gate else ()
        for name in names:
            if name not in known:
                yield f"spec.rollout.steps[{index}].gate names {name}; add it to spec.rollout.gates"
        if len(set(names)) != len(names):
            yield f"spec.rollout.steps[{index}].gate.names holds a name twice; remove one"


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


def _hits_have_time(spec: ModelSpec) -> Iterator[str]:
    """Name gates on hits that end before any answer counts: it does once its attribution window has passed."""
    credited = {gate.name for gate in spec.rollout.gates if gate.metric == "hitRate"}
    window, seen, weighted = seconds(spec.source.attribution_window), 0.0, False
    for index, step in enumerate(spec.rollout.steps):
        weighted = weighted or bool(step.set_weight)
        seen += _most_seconds(step) if weighted else 0.0
        for name in step.gate.names if step.gate else ():
            if name in credited and weighted and seen <= window:
                yield (
                    f"spec.rollout.steps[{index}] decides {name} at most {seen:.0f} s after the first weight, but"
                    f" answers count only {window:.0f} s later (spec.source.attributionWindow); lengthen the timeout"
                )


def _most_seconds(step: Step) -> float:
    """Return how long a step can last; a shadow has no limit."""
    if step.pause is not None:
        return seconds(step.pause.duration) if step.pause.duration is not None else math.inf
    if step.gate is not None:
        return seconds(step.gate.timeout)
    return math.inf if step.shadow is not None else 0.0


def _durations_last(spec: ModelSpec) -> Iterator[str]:
    named = {
        "spec.source.attributionWindow": spec.source.attribution_window,
        "spec.snapshots.interval": spec.snapshots.interval,
        "spec.rollout.progressDeadline": spec.rollout.progress_deadline,
    }
    for index, step in enumerate(spec.rollout.steps):
        if step.gate is not None:
            named[f"spec.rollout.steps[{index}].gate.timeout"] = step.gate.timeout
    for name, duration in named.items():
        if seconds(duration) == 0.0:
            yield f"{name} is {duration}; nothing can happen in no time, give a longer one"


def _gates_are_decidable(spec: ModelSpec) -> Iterator[str]:
    for gate in spec.rollout.gates:
        problems = [*_bound_problems(gate), *_METRIC_PROBLEMS[gate.source](gate)]
        yield from (f"spec.rollout.gates[{gate.name}]{problem}" for problem in problems)


def _bound_problems(gate: Gate) -> Iterator[str]:
    bounded = gate.min is not None or gate.max is not None
    if bounded == (gate.compare_to is not None):
        yield " needs either min/max or compareTo"
    if gate.compare_to is not None and gate.margin is None:
        yield ".margin is missing; say how much worse the candidate may be"
    if gate.compare_to is None and gate.margin is not None:
        yield ".margin goes with compareTo only; move it into min or max"
    if gate.margin is not None and not 0 <= Decimal(gate.margin) < 1:
        yield f".margin is {gate.margin}; give 0 or more, below 1 (a share, not percents)"
    if gate.min is not None and gate.max is not None and Decimal(gate.min) > Decimal(gate.max):
        yield f".min {gate.min} is above max {gate.max}"


def _snapshot_problems(gate: Gate) -> Iterator[str]:
    if gate.compare_to is not None:
        yield ".compareTo does not go with source Snapshot; give min or max"
    if gate.on_timeout is not OnTimeout.PAUSE:
        yield ".onTimeout does not go with source Snapshot, which is decided at once; remove it"


def _prequential_problems(gate: Gate) -> Iterator[str]:
    if not PREQUENTIAL_METRIC.fullmatch(gate.metric):
        yield f".metric is {gate.metric}; the prequential metrics are recall@k (recall@20) and mrr"
    yield from _share_problems(gate)


def _online_problems(gate: Gate) -> Iterator[str]:
    if gate.metric not in ONLINE_METRICS:
        yield f".metric is {gate.metric}; the online metrics are {', '.join(ONLINE_METRICS)}"
    elif gate.metric == "hitRate":
        if gate.compare_to not in (None, CompareTo.STABLE):
            yield ".compareTo of hitRate can only be Stable"
        yield from _share_problems(gate)
    elif gate.max is None or gate.min is not None or gate.compare_to is not None:
        yield f" needs max and nothing else; {gate.metric} is held against a limit"
    elif gate.metric == "errorRate" and not 0 < Decimal(gate.max) < 1:
        yield f".max is {gate.max}; give more than 0 (no number of requests shows that none fails) and less than 1"
    elif gate.metric != "errorRate" and not FASTEST_MS <= Decimal(gate.max) <= SLOWEST_MS:
        yield f".max is {gate.max}; give {FASTEST_MS} to {SLOWEST_MS} milliseconds, which is what is counted"


def _share_problems(gate: Gate) -> Iterator[str]:
    """Name limits that cannot be cleared: a mean of values from 0 to 1 is never known to be exactly 0 or 1."""
    if gate.min is not None and not 0 <= Decimal(gate.min) < 1:
        yield f".min is {gate.min}; {gate.metric} lies between 0 and 1, give 0 or more, below 1"
    if gate.max is not None and not 0 < Decimal(gate.max) <= 1:
        yield f".max is {gate.max}; {gate.metric} lies between 0 and 1, give more than 0, at most 1"


_METRIC_PROBLEMS: Final[dict[GateSource, Callable[[Gate], Iterator[str]]]] = {
    GateSource.SNAPSHOT: _snapshot_problems,
    GateSource.PREQUENTIAL: _prequential_problems,
    GateSource.ONLINE: _online_problems,
}

_RULES: Final[tuple[Callable[[ModelSpec], Iterator[str]], ...]] = (
    _one_key_per_step,
    _weights_rise,
    _gates_are_known,
    _online_gates_have_traffic,
    _hits_have_time,
    _durations_last,
    _gates_are_decidable,
)
