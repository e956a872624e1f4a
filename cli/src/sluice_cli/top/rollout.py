"""The parts of the frame about rollouts: phase, weight, gates, snapshots, decisions."""

from datetime import UTC, datetime

from rich.text import Text

from sluice_cli.commands.shell import readable_bytes
from sluice_cli.demo import figures, gates
from sluice_cli.demo.sections import Frame, bar, gate_lines, line, rule
from sluice_cli.top.overview import Overview, SnapshotRow
from sluice_cli.top.parts import Forms, count, table
from sluice_operator.rollout.state import Note, NoteType, RolloutState


def rollout(shown: Overview, form: Frame) -> Forms:
    """Short: phase, weight and what is waited for. Long: the gates besides."""
    if not shown.rollouts:
        return [[]]
    short = [each for model, state in shown.rollouts.items() for each in _state(model, state, form)]
    long = [
        each
        for model, state in shown.rollouts.items()
        for each in (*_state(model, state, form), *gate_lines(gates.gate_rows(state.measurements), form))
    ]
    return [short, long]


def _state(model: str, state: RolloutState, form: Frame) -> list[Text]:
    lines = [
        rule(f"rollout of {model}: {state.phase.value}, epoch {state.epoch}", form),
        line((figures.clean(state.message), "italic")),
    ]
    if state.candidate:
        filled, empty = bar(state.weight / 100, 16, form)
        share: list[str | tuple[str, str]] = [(filled, "yellow"), (empty, "dim"), f" {state.weight:3d} % "]
        beside = [(" beside ", "dim"), (state.stable, "green")] if state.stable else []
        lines.append(line(*share, (state.candidate, "yellow"), *beside))
    return lines


def snapshots(shown: Overview, form: Frame) -> Forms:
    """Short: nothing, the rollout names them. Long: where each is loaded, its size, who refused it and why."""
    if not shown.snapshots:
        return [[]]
    columns = ("snapshot", "role", "rows", "size", "loaded by")
    rows = [_snapshot(row) for row in shown.snapshots]
    room = f" · headroom {readable_bytes(shown.headroom_bytes)}" if shown.headroom_bytes is not None else ""
    heading = rule(f"snapshots{room}", form)
    return [[], [heading, *table(columns, rows, right=columns[2:4])]]


def _snapshot(row: SnapshotRow) -> list[tuple[str, str]]:
    refused = "; ".join(f"{pod}: {figures.clean(reason)}" for pod, reason in row.refused.items())
    colour = {"stable": "green", "candidate": "yellow"}.get(row.role, "")
    return [
        (row.id, colour),
        (row.role, ""),
        (count(row.rows), ""),
        (figures.UNKNOWN if row.bytes is None else readable_bytes(row.bytes), ""),
        (" ".join(row.loaded) + (f" refused by {refused}" if refused else ""), "red" if refused else ""),
    ]


def decision(note: Note) -> Text:
    """Return one decision in a line."""
    at = datetime.fromtimestamp(note.at, UTC).strftime("%H:%M:%SZ")
    style = "bold red" if note.type is NoteType.WARNING else "bold"
    return line((f"{at} ", "dim"), (note.reason, style), f" {figures.clean(note.message)}")
