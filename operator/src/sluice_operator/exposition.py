"""Rollouts as metrics: where each model's stands now, and how often it decided."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import msgspec
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sluice import instruments, metrics
from sluice.errors import Conflict, StaleEpoch, StorageUnavailable
from sluice.instruments import family
from sluice_operator.controller import Notes
from sluice_operator.rollout.state import Measurement, Note, Phase, RolloutState, Verdict

Gates = dict[tuple[str, ...], Measurement]
_DECISIONS = instruments.counter(metrics.DECISIONS)
_PASSES = instruments.counter(metrics.PASSES)
_THROWN_AWAY = instruments.counter(metrics.PASSES_THROWN_AWAY)


class RolloutExposition(Collector):
    """Exposes the state that each model's last pass left."""

    def __init__(self) -> None:
        self._states: dict[str, RolloutState] = {}

    def watched(
        self, model: str, reconcile: Callable[[float], RolloutState]
    ) -> Callable[[float], RolloutState]:
        """Return ``reconcile`` with its passes counted and its state exposed."""
        for counter in (_PASSES, _THROWN_AWAY):
            counter.labels(model)  # both are there from the first scrape on

        def counted(now: float) -> RolloutState:
            _PASSES.labels(model).inc()
            try:
                self._states[model] = reconcile(now)
            except (Conflict, StaleEpoch, StorageUnavailable):
                _THROWN_AWAY.labels(model).inc()
                raise
            return self._states[model]

        return counted

    def forget(self, model: str) -> None:
        """Expose a model's state no more: it is gone."""
        self._states.pop(model, None)
        for counter in (_PASSES, _THROWN_AWAY):
            counter.remove(model)

    def status(self) -> dict[str, Any]:
        """Return the states as JSON values, by model."""
        return {"rollouts": msgspec.to_builtins(self._states)}

    def collect(self) -> list[Metric]:
        """Return the states as metrics."""
        states = dict(self._states)
        gates: Gates = {
            (model, each.gate): each for model, state in states.items() for each in state.measurements
        }
        phases: dict[tuple[str, ...], StrEnum] = {(model,): state.phase for model, state in states.items()}
        verdicts: dict[tuple[str, ...], StrEnum] = {labels: each.verdict for labels, each in gates.items()}
        return [
            family(metrics.PHASE, _one_hot(phases, Phase)),
            family(metrics.WEIGHT, {(model,): state.weight for model, state in states.items()}),
            family(metrics.STEP, {(model,): state.step for model, state in states.items()}),
            family(metrics.EPOCH, {(model,): state.epoch for model, state in states.items()}),
            family(metrics.GATE_VALUE, _known(gates)),
            family(metrics.GATE_SAMPLES, {labels: each.samples for labels, each in gates.items()}),
            family(metrics.GATE_VERDICT, _one_hot(verdicts, Verdict)),
        ]


def _one_hot(
    present: Mapping[tuple[str, ...], StrEnum], kinds: type[StrEnum]
) -> dict[tuple[str, ...], float]:
    return {
        (*labels, kind.value): float(kind is value) for labels, value in present.items() for kind in kinds
    }


def _known(gates: Gates) -> dict[tuple[str, ...], float]:
    return {labels: each.value for labels, each in gates.items() if each.value is not None}


class CountedNotes:
    """:class:`~sluice_operator.controller.Notes` that counts what it hands on."""

    def __init__(self, notes: Notes, model: str) -> None:
        self._notes, self._model = notes, model

    def record(self, note: Note) -> bool:
        """See :class:`~sluice_operator.controller.Notes`."""
        recorded = self._notes.record(note)
        if recorded:
            _DECISIONS.labels(self._model, note.reason).inc()
        return recorded
