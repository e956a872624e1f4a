"""The rollout as metrics: present phase and verdicts, decisions and passes counted, gone gates gone."""

import pytest
from prometheus_client.metrics_core import Metric

from sluice import instruments, metrics
from sluice.errors import Conflict
from sluice_operator.exposition import CountedNotes, RolloutExposition
from sluice_operator.rollout.state import Measurement, Note, NoteType, Phase, RolloutState, Verdict

MODEL = "default.watched"
STATE = RolloutState(
    epoch=7,
    phase=Phase.PROGRESSING,
    step=2,
    weight=20,
    measurements=(
        Measurement(gate="recall", verdict=Verdict.PASS, reason="", value=-0.01, samples=1_200),
        Measurement(gate="errors", verdict=Verdict.ERROR, reason="no fresh evidence"),
    ),
)


def values(families: list[Metric]) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value for each in families for sample in each.samples
    }


def test_what_the_last_pass_left() -> None:
    exposition = RolloutExposition()
    exposition.watched(MODEL, lambda now: STATE)(1.0)
    shown = values(exposition.collect())
    assert shown[metrics.PHASE, MODEL, "Progressing"] == 1
    assert sum(value for key, value in shown.items() if key[0] == metrics.PHASE) == 1
    assert (shown[metrics.WEIGHT, MODEL], shown[metrics.STEP, MODEL], shown[metrics.EPOCH, MODEL]) == (
        20,
        2,
        7,
    )
    assert shown[metrics.GATE_VERDICT, MODEL, "errors", "Error"] == 1
    assert shown[metrics.GATE_VERDICT, MODEL, "errors", "Pass"] == 0
    assert shown[metrics.GATE_VALUE, MODEL, "recall"] == -0.01
    assert (metrics.GATE_VALUE, MODEL, "errors") not in shown
    assert shown[metrics.GATE_SAMPLES, MODEL, "recall"] == 1_200
    assert exposition.status()["rollouts"][MODEL]["phase"] == "Progressing"


def test_gates_of_a_rollout_that_ended_are_gone() -> None:
    exposition = RolloutExposition()
    exposition.watched(MODEL, lambda now: STATE)(1.0)
    exposition.watched(MODEL, lambda now: RolloutState(phase=Phase.STABLE))(2.0)
    assert not [key for key in values(exposition.collect()) if key[0] == metrics.GATE_VERDICT]


def test_passes_are_counted_and_what_became_of_them() -> None:
    def conflicted(now: float) -> RolloutState:
        raise Conflict("decide anew")

    passes = instruments.counter(metrics.PASSES).labels(MODEL)
    thrown_away = instruments.counter(metrics.PASSES_THROWN_AWAY).labels(MODEL)
    before = passes._value.get(), thrown_away._value.get()
    exposition = RolloutExposition()
    exposition.watched(MODEL, lambda now: STATE)(1.0)
    with pytest.raises(Conflict):
        exposition.watched(MODEL, conflicted)(2.0)
    assert (passes._value.get(), thrown_away._value.get()) == (before[0] + 2, before[1] + 1)
    assert values(exposition.collect())[metrics.EPOCH, MODEL] == 7  # the last pass that held


class Once:
    """Records a number once."""

    def __init__(self) -> None:
        self.recorded: list[int] = []

    def record(self, note: Note) -> bool:
        new = note.number not in self.recorded
        self.recorded += [note.number] if new else []
        return new


def test_a_decision_told_again_counts_once() -> None:
    counter = instruments.counter(metrics.DECISIONS).labels(MODEL, "WeightSet")
    before = counter._value.get()
    notes = CountedNotes(Once(), MODEL)
    note = Note(type=NoteType.NORMAL, reason="WeightSet", message="", number=1)
    assert [notes.record(note), notes.record(note)] == [True, False]
    assert counter._value.get() == before + 1
