"""`sluice rollout`: what is shown, and what becomes of a verb, with a thread as the controller."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from sluice_cli.commands import steering
from sluice_cli.main import app
from sluice_operator.embedded import EmbeddedRollout
from sluice_operator.rollout.observation import Command, Verb
from sluice_operator.rollout.state import Aborted, Measurement, Note, NoteType, Phase, RolloutState, Verdict

RECALL = Measurement(
    gate="recall",
    verdict=Verdict.INCONCLUSIVE,
    reason="",
    value=-0.004,
    lower=-0.051,
    upper=0.043,
    threshold=-0.04,
    samples=612,
    missing_samples=790,
    missing_s=19.6,
)
STATE = RolloutState(
    phase=Phase.PROGRESSING,
    message="step 2 of 4 (gate recall): 95 s left",
    rollout="r",
    stable="s1",
    candidate="s2",
    step=1,
    weight=5,
    measurements=(RECALL,),
    aborted=(Aborted(id="s0", reason="gate recall failed", at=1.0),),
)


@pytest.fixture
def rollout(tmp_path: Path) -> EmbeddedRollout:
    made = EmbeddedRollout(tmp_path / "rollout-default.demo.db")
    made.write(STATE, 0)
    made.record(note("RolloutStarted", "s2 rolls", 1))
    return made


def note(reason: str, message: str, number: int) -> Note:
    return Note(
        type=NoteType.NORMAL, reason=reason, message=message, number=number, epoch=1, at=1_700_000_000.0
    )


def run(home: Path, *arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["rollout", *arguments, "--home", str(home)])
    return result.exit_code, result.stdout, result.stderr


@contextmanager
def controller(rollout: EmbeddedRollout, reason: str, message: str) -> Iterator[list[Command]]:
    """Consume commands as the controller does: state first, then the note."""
    stopping, taken = threading.Event(), list[Command]()

    def work() -> None:
        while not stopping.wait(0.01):
            for command in rollout.pending():
                version, state = rollout.read()
                if command.id in state.consumed:
                    continue
                taken.append(command)
                rollout.write(msgspec.structs.replace(state, consumed=(*state.consumed, command.id)), version)
                rollout.record(note(reason, message.format(command.id), 1 + len(taken)))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield taken
    finally:
        stopping.set()
        thread.join()


def test_get_shows_phase_step_weight_and_what_the_gates_lack(
    rollout: EmbeddedRollout, tmp_path: Path
) -> None:
    code, out, _ = run(tmp_path, "get")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ["stable", "s1"] in lines
    assert ["candidate", "s2,", "weight", "5", "%"] in lines
    recall = next(line for line in lines if line[0] == "recall")
    assert " ".join(recall) == "recall Inconclusive -0.004 [-0.051, 0.043] -0.040 612 790 more, ~20 s"
    assert ["aborted", "s0:", "gate", "recall", "failed"] in lines


def test_get_as_json_is_the_state(rollout: EmbeddedRollout, tmp_path: Path) -> None:
    document = json.loads(run(tmp_path, "get", "--json")[1])
    assert document["weight"] == 5
    assert document["measurements"][0]["missingSamples"] == 790


def test_history_lists_the_decisions(rollout: EmbeddedRollout, tmp_path: Path) -> None:
    assert run(tmp_path, "history")[1].splitlines()[1].split()[2:4] == ["1", "RolloutStarted"]
    assert json.loads(run(tmp_path, "history", "--json")[1])[0]["note"]["message"] == "s2 rolls"


@pytest.mark.parametrize(
    ("arguments", "snapshot", "step"),
    [
        (("promote",), "s2", 1),
        (("abort",), "s2", None),
        (("pause",), "s2", None),
        (("resume",), "s2", None),
        (("rollback",), None, None),
        (("rollback", "s0"), "s0", None),
        (("retry", "s0"), "s0", None),
    ],
)
def test_a_verb_carries_what_was_seen_and_tells_what_happened(
    rollout: EmbeddedRollout,
    tmp_path: Path,
    arguments: tuple[str, ...],
    snapshot: str | None,
    step: int | None,
) -> None:
    with controller(rollout, "Done", "it is so") as taken:
        code, out, err = run(tmp_path, *arguments)
    assert (code, out, err) == (0, "Done: it is so\n", "")
    assert [(each.verb, each.snapshot, each.step) for each in taken] == [(Verb(arguments[0]), snapshot, step)]


def test_an_ignored_verb_says_why_and_fails(rollout: EmbeddedRollout, tmp_path: Path) -> None:
    with controller(rollout, "CommandIgnored", "promote ({}): it was meant for s2, now it is s3"):
        code, out, err = run(tmp_path, "promote")
    assert (code, out) == (1, "")
    assert "promote changed nothing: it was meant for s2, now it is s3; see sluice rollout get" in err


def test_without_a_controller_a_verb_says_so(
    rollout: EmbeddedRollout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering, "WAIT_S", 0.1)
    code, _, err = run(tmp_path, "pause")
    assert code == 1
    assert "no controller took the pause" in err
    assert [each.verb for each in rollout.pending()] == [Verb.PAUSE]


def test_the_model_can_be_named_by_its_file(rollout: EmbeddedRollout, tmp_path: Path) -> None:
    model = tmp_path / "model.yaml"
    model.write_text(
        "apiVersion: sluice.dev/v1alpha1\nkind: RecommenderModel\nmetadata: {name: demo}\n"
        "spec: {algorithm: {type: GMF}}\n"
    )
    assert run(tmp_path, "get", "-f", str(model))[0] == 0
    model.write_text(model.read_text().replace("name: demo", "name: other"))
    assert "does not know model default.other" in run(tmp_path, "get", "-f", str(model))[2]


def test_lint_names_every_problem_also_of_the_algorithm_s_parameters(tmp_path: Path) -> None:
    document = """
apiVersion: sluice.dev/v1alpha1
kind: RecommenderModel
metadata: {name: m}
spec:
  algorithm: {type: GMF, parameters: {dimension: wide, learningrate: "1"}}
"""
    file = tmp_path / "model.yaml"
    file.write_text(document)
    result = CliRunner().invoke(app, ["rollout", "lint", str(file)])
    problems = result.stderr.splitlines()
    assert (result.exit_code, len(problems)) == (2, 2)
    assert all(problem.startswith(f"{file}: spec.algorithm.parameters: ") for problem in problems)
    assert "dimension" in problems[0]
    assert "learningrate" in problems[1]
