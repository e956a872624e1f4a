"""The parts of the live view. Each is a list of lines; none is wrapped, so that a frame's height is known."""

from typing import Final, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from sluice_cli.demo import figures, gates
from sluice_cli.demo.gates import GateRow
from sluice_cli.demo.record import Click, Point, Record, Told

SPARK: Final = 24
TITLES: Final = 3
WIDE: Final = 100
_RIGHT: Final = frozenset({"value", "limit", "samples"})


class Frame(NamedTuple):
    """What a part must know of where it is drawn."""

    width: int
    elapsed: float
    ascii_only: bool = False


def line(*pieces: str | tuple[str, str]) -> Text:
    """Return one line of (text, style) pieces that is cut, not wrapped."""
    return Text.assemble(*pieces, no_wrap=True, overflow="ellipsis")


def rule(title: str, form: Frame) -> Text:
    """Return a heading with a line up to the right edge."""
    dash = "-" if form.ascii_only else "─"
    left = f"{dash}{dash} {title} "
    return line((left + dash * max(0, form.width - cell_len(left)), "dim"))


def bar(part: float, width: int, form: Frame) -> tuple[str, str]:
    """Return a bar filled up to ``part`` in [0, 1], as (filled, empty)."""
    full, empty = ("#", ".") if form.ascii_only else ("█", "░")
    cells = round(min(1.0, max(0.0, part)) * width)
    return full * cells, empty * (width - cells)


def head(record: Record, form: Frame) -> list[Text]:
    """Return dataset, algorithm, stage and time; the stream's progress; pace, lag and latency."""
    point = record.points[-1] if record.points else Point(at=0.0, streamed=0, events_per_s=0.0)
    whole = figures.to_stream(record)
    part = point.streamed / whole if whole else 0.0
    count = f" {point.streamed:,} / {whole:,} · {part:.0%}"
    filled, empty = bar(part, max(8, form.width - len("stream ") - len(count)), form)
    return [
        line(
            ("Sluice demo", "bold cyan"),
            f" · {figures.clean(record.dataset)} · {record.algorithm} · ",
            (record.stage, "bold"),
            f" · {figures.clock(form.elapsed)}",
        ),
        line(("stream ", "dim"), (filled, "cyan"), (empty, "dim"), count),
        line(("pace   ", "dim"), *_pace(record, point)),
    ]


def _pace(record: Record, point: Point) -> list[str | tuple[str, str]]:
    errors = f" · {record.request_errors:,} errors"
    return [
        f"{point.events_per_s:,.0f} events/s · lag {point.lag:,}",
        f" · p99 {figures.milliseconds(figures.latency_p99(record))}",
        (errors, "red" if record.request_errors else ""),
    ]


def quality(record: Record, form: Frame) -> list[Text]:
    """Return recall@20 of what is served beside popularity's."""
    point = record.points[-1] if record.points else None
    if point is None or point.recall is None:
        return [line(("recall ", "dim"), ("nothing evaluated yet", "dim"))]
    better = (figures.ratio(record) or 0.0) >= 1.0
    spark = figures.sparkline(record.points, SPARK, ascii_only=form.ascii_only)
    return [
        line(
            ("recall ", "dim"),
            ("served ", "dim"),
            (figures.share(point.recall), "bold"),
            (" popularity ", "dim"),
            figures.share(point.popular_recall),
            (f" {figures.times(figures.ratio(record))} ", "bold green" if better else "bold yellow"),
            (spark, "cyan"),
            (f" @20 of {point.evaluated:,}", "dim"),
        )
    ]


def rollout(record: Record, form: Frame) -> list[Text]:
    """Return phase, snapshots, weight, step and gates."""
    counts = f"{len(record.snapshots)} cut, {len(record.promoted)} promoted, {len(record.rejected)} rejected"
    heading, state = rule(f"rollout of snapshots: {counts}", form), record.rollout
    if state is None:
        return [heading, line(("waits for a first snapshot", "dim"))]
    filled, empty = bar(state.weight / 100, 20, form)
    lines = [
        heading,
        line(
            (state.phase.value, "bold"),
            (" · stable ", "dim"),
            (state.stable or figures.UNKNOWN, "green"),
        ),
        line(
            (filled, "yellow"), (empty, "dim"), f" {state.weight:3d} %",
            (" · candidate ", "dim"), (state.candidate or "none", "yellow"),
        ),
        line((figures.clean(state.message), "italic")),
    ]  # fmt: skip
    if state.candidate:
        lines += gate_lines(gates.gate_rows(state.measurements), form)
    return lines


def gate_lines(rows: list[GateRow], form: Frame) -> list[Text]:
    """Return the gates as aligned columns under a heading."""
    if not rows:
        return []
    gap = " " if form.width < WIDE else "  "
    cells = [list(gates.COLUMNS), *(list(row[: len(gates.COLUMNS)]) for row in rows)]
    widths = [max(cell_len(row[column]) for row in cells) for column in range(len(gates.COLUMNS))]
    styles = [dict.fromkeys(gates.COLUMNS, "dim"), *({"verdict": row.colour} for row in rows)]
    return [line(*_aligned(row, widths, style, gap)) for row, style in zip(cells, styles, strict=True)]


def _aligned(row: list[str], widths: list[int], style: dict[str, str], gap: str) -> list[tuple[str, str]]:
    made = []
    for name, cell, width in zip(gates.COLUMNS[:-1], row, widths, strict=False):
        sized = cell.rjust(width) if name in _RIGHT else set_cell_size(cell, width)
        made.append((sized + gap, style.get(name, "")))
    return [*made, (row[-1], style.get(gates.COLUMNS[-1], ""))]


def click(record: Record, form: Frame) -> list[Text]:
    """Return the latest click and what it did to that user's answer."""
    if not record.clicks:
        return []
    last = record.clicks[-1]
    title = f"user {figures.clean(last.user_id)} clicked"
    return [
        rule(title, form),
        line(
            (figures.clean(last.clicked), "bold"),
            (f" → new top items after {figures.milliseconds(last.took_ms)}", "green"),
        ),
        line(("was ", "dim"), _titles(last.before)),
        line(("now ", "dim"), *_after(last)),
    ]


def _titles(titles: list[str]) -> str:
    return " · ".join(figures.clean(each) for each in titles[:TITLES])


def _after(last: Click) -> list[str | tuple[str, str]]:
    pieces: list[str | tuple[str, str]] = []
    for place, title in enumerate(last.after[:TITLES]):
        pieces.append(" · " if place else "")
        pieces.append((figures.clean(title), "" if title in last.before else "bold green"))
    return pieces


def story(told: list[Told], form: Frame) -> list[Text]:
    """Return the newest told lines."""
    return [rule("what happened", form), *(_told(each) for each in told)]


def _told(each: Told) -> Text:
    style = "bold red" if each.warning else "bold"
    return line(
        (f"{figures.clock(each.at):>5} ", "dim"),
        (each.reason, style),
        f" {figures.clean(each.message)}",
    )
