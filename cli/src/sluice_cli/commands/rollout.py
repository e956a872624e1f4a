"""``sluice rollout``: watch and steer the local platform's rollout, and check model files."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice_cli.commands.local import (
    DEFAULT_HOME,
    FileOption,
    HomeOption,
    JsonOption,
    ModelOption,
    model_key,
    open_rollout,
)
from sluice_cli.commands.shell import WRONG_INPUT, Failed, sentences, show_json, show_table

if TYPE_CHECKING:
    from sluice_cli.commands.steering import Outcome
    from sluice_operator.rollout.state import RolloutState

app = typer.Typer(name="rollout", help="Watch and steer the rollout of snapshots.", no_args_is_help=True)


@app.command("get")
def get(
    home: HomeOption = DEFAULT_HOME,
    file: FileOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show phase, step, weight and gates with their numbers and what is missing.

    \b
    Examples:
      sluice rollout get
      sluice rollout get --home .sluice --json | jq .measurements
    """
    _, state = open_rollout(home, model_key(home, file, model, "rollout")).read()
    if as_json:
        show_json(state)
        return
    _show(state)


def _show(state: "RolloutState") -> None:
    from sluice_cli.demo import gates

    typer.echo(f"phase      {state.phase}: {state.message}")
    typer.echo(f"stable     {state.stable or 'none'}")
    typer.echo(
        f"candidate  {state.candidate or 'none'}" + (f", weight {state.weight} %" if state.candidate else "")
    )
    if state.candidate:
        typer.echo(f"step       {state.step + 1}")
        rows = [list(row[: len(gates.COLUMNS)]) for row in gates.gate_rows(state.measurements)]
        show_table(gates.COLUMNS, rows, right=("value", "limit", "samples"))
    for aborted in state.aborted[-3:]:
        typer.echo(f"aborted    {aborted.id}: {aborted.reason}")


@app.command("history")
def history(
    home: HomeOption = DEFAULT_HOME,
    file: FileOption = None,
    model: ModelOption = None,
    last: Annotated[int, typer.Option("--last", min=1, help="How many decisions, the newest ones.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List the decisions with their numbers, oldest first.

    \b
    Examples:
      sluice rollout history
      sluice rollout history --last 10 --json
    """
    notes = open_rollout(home, model_key(home, file, model, "rollout")).notes()[-last:]
    if as_json:
        show_json([{"at": at, "epoch": epoch, "note": note} for _, at, epoch, note in notes])
        return
    rows = [
        [
            datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ"),
            str(epoch),
            note.reason,
            note.message,
        ]
        for _, at, epoch, note in notes
    ]
    show_table(("at", "epoch", "decision", "why"), rows, right=("epoch",))


@app.command("promote")
def promote(home: HomeOption = DEFAULT_HOME, file: FileOption = None, model: ModelOption = None) -> None:
    """Skip the current step; after the last one, promote the candidate. Overrules a failed or undecided gate.

    \b
    Examples:
      sluice rollout promote
      sluice rollout promote --model default.home
    """
    _steer("promote", home, file, model)


@app.command("abort")
def abort(home: HomeOption = DEFAULT_HOME, file: FileOption = None, model: ModelOption = None) -> None:
    """Drop the candidate: weight 0 at once, stable serves all, the snapshot is not tried again by itself.

    \b
    Examples:
      sluice rollout abort
      sluice rollout abort -f model.yaml
    """
    _steer("abort", home, file, model)


@app.command("pause")
def pause(home: HomeOption = DEFAULT_HOME, file: FileOption = None, model: ModelOption = None) -> None:
    """Keep the candidate at its step and weight until resume (or promote).

    \b
    Examples:
      sluice rollout pause
      sluice rollout pause --home .sluice
    """
    _steer("pause", home, file, model)


@app.command("resume")
def resume(home: HomeOption = DEFAULT_HOME, file: FileOption = None, model: ModelOption = None) -> None:
    """Go on after a pause, or end the hold that a rollback left.

    \b
    Examples:
      sluice rollout resume
      sluice rollout resume --home .sluice
    """
    _steer("resume", home, file, model)


@app.command("rollback")
def rollback(
    snapshot: Annotated[
        str | None, typer.Argument(help="Where to; the one promoted before stable by default.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    file: FileOption = None,
    model: ModelOption = None,
) -> None:
    """Go back to an earlier promoted snapshot without steps, and hold there until resume.

    \b
    Examples:
      sluice rollout rollback
      sluice rollout rollback gmf-000034006-1f0c9b2a
    """
    _steer("rollback", home, file, model, snapshot)


@app.command("retry")
def retry(
    snapshot: Annotated[str | None, typer.Argument(help="Which; the one aborted last by default.")] = None,
    home: HomeOption = DEFAULT_HOME,
    file: FileOption = None,
    model: ModelOption = None,
) -> None:
    """Let an aborted snapshot roll again.

    \b
    Examples:
      sluice rollout retry
      sluice rollout retry gmf-000036506-77ab01cd
    """
    _steer("retry", home, file, model, snapshot)


def _steer(verb: str, home: Path, file: Path | None, model: str | None, target: str | None = None) -> None:
    from sluice_cli.commands.steering import ask, command_for
    from sluice_operator.rollout.observation import Verb

    rollout = open_rollout(home, model_key(home, file, model, "rollout"))
    command = command_for(Verb(verb), rollout.read()[1], target)
    _tell(ask(rollout, command), home)


def _tell(outcome: "Outcome", home: Path) -> None:
    for _, _, _, note in outcome.notes:
        if note.reason != "CommandIgnored":
            typer.echo(f"{note.reason}: {note.message}")
    if not outcome.consumed:
        raise Failed(
            f"no controller took the {outcome.command.verb} within 5 s; it stays queued,"
            f" start the platform with sluice up --home {home}"
        )
    if outcome.ignored:
        raise Failed(f"{outcome.command.verb} changed nothing: {outcome.ignored}; see sluice rollout get")
    if not outcome.notes:
        typer.echo(f"{outcome.command.verb}: taken")


@app.command("lint")
def lint(files: Annotated[list[Path], typer.Argument(help="RecommenderModel files.")]) -> None:
    """Check model files: one line per problem, exit 2 if there is one.

    \b
    Examples:
      sluice rollout lint model.yaml
      sluice rollout lint manifests/samples/*.yaml
    """
    from sluice import models
    from sluice.errors import InvalidModel
    from sluice_cli import algorithm

    wrong = False
    for path in files:
        try:
            model = models.load(path)
            algorithm.check(model)
            typer.echo(f"{path}: OK ({model.key})")
        except InvalidModel as error:
            wrong = True
            for problem in sentences(error):
                typer.echo(f"{path}: " + problem.removeprefix(f"{path}: "), err=True)
    if wrong:
        raise typer.Exit(WRONG_INPUT)
