"""The parts of the frame about processes, traffic and learning. Each returns its forms, the shortest first."""

from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len
from rich.text import Text

from sluice_cli.commands.shell import readable_bytes
from sluice_cli.demo import figures
from sluice_cli.demo.sections import Frame, line
from sluice_cli.top.overview import LagRow, Learning, Overview, ProcessRow

Forms = list[list[Text]]
_TOPICS_SHOWN: Final = 4
_SEPARATOR: Final = " · "


def processes(shown: Overview, form: Frame) -> Forms:
    """Short: name, CPU and memory side by side. Long: a line each."""
    if not shown.processes:
        return [[]]
    columns = ("process", "pid", "up", "cpu", "memory", "restarts")
    rows = [_process_cells(row) for row in shown.processes]
    return [_side_by_side(shown.processes, form), table(columns, rows, right=columns[1:])]


def _side_by_side(rows: Sequence[ProcessRow], form: Frame) -> list[Text]:
    pieces = [_brief(row) for row in rows]
    lines: list[list[str | tuple[str, str]]] = [[]]
    used = 0
    for words, style in pieces:
        if used and used + len(_SEPARATOR) + cell_len(words) > form.width:
            lines, used = [*lines, []], 0
        lines[-1] += [_SEPARATOR, (words, style)] if used else [(words, style)]
        used += (len(_SEPARATOR) if used else 0) + cell_len(words)
    return [line(*each) for each in lines]


def _brief(row: ProcessRow) -> tuple[str, str]:
    if not row.answers:
        return f"{row.name} silent", "bold red"
    return f"{row.name} {_percent(row.cpu_percent)} {_size(row.memory_bytes)}", "red" if row.restarts else ""


def _process_cells(row: ProcessRow) -> list[tuple[str, str]]:
    up = figures.UNKNOWN if row.uptime_s is None else duration(row.uptime_s)
    return [
        (figures.clean(row.name) + ("" if row.answers else " (silent)"), "" if row.answers else "bold red"),
        (figures.UNKNOWN if row.pid is None else str(row.pid), ""),
        (up, ""),
        (_percent(row.cpu_percent), ""),
        (_size(row.memory_bytes), ""),
        (str(row.restarts), "red" if row.restarts else "dim"),
    ]


def requests(shown: Overview, _form: Frame) -> Forms:
    """Short: the whole API. Long: each route besides."""
    api = shown.requests
    if api is None:
        return [[]]
    strategies = _SEPARATOR.join(f"{name} {rate:,.1f}" for name, rate in api.strategies.items())
    fallbacks = "".join(f"{_SEPARATOR}{name} {rate:,.1f}" for name, rate in api.fallbacks.items())
    first = line(
        ("api    ", "dim"),
        f"{api.per_s:,.1f} requests/s{_SEPARATOR}p50 {figures.milliseconds(api.p50_ms)}",
        f"{_SEPARATOR}p99 {figures.milliseconds(api.p99_ms)}{_SEPARATOR}",
        (f"{api.errors_per_s:,.1f} errors/s", "bold red" if api.errors_per_s else ""),
    )
    short = [first]
    if strategies:
        candidate = f"{_SEPARATOR}candidate {api.candidate_per_s:,.1f}" if api.candidate_per_s else ""
        failed = f", {api.canary_errors_per_s:,.1f} failed" if api.canary_errors_per_s else ""
        short.append(
            line(("answers", "dim"), f" {strategies}", (fallbacks, "yellow"), candidate, (failed, "red"))
        )
    columns = ("route", "requests/s", "errors/s", "p50", "p99")
    rows = [
        [
            (row.route, ""),
            (f"{row.per_s:,.1f}", ""),
            (f"{row.errors_per_s:,.1f}", "red" if row.errors_per_s else "dim"),
            (figures.milliseconds(row.p50_ms), ""),
            (figures.milliseconds(row.p99_ms), ""),
        ]
        for row in api.routes
    ]
    return [short, [*short, *table(columns, rows, right=columns[1:])]] if rows else [short]


def stream(shown: Overview, _form: Frame) -> Forms:
    """Short: rates and the lag of each process. Long: the lag of each partition."""
    log = shown.stream
    letters = f"dead letters {count(log.dead_letters)}"
    first = line(
        ("log    ", "dim"),
        f"in {log.accepted_per_s:,.1f}/s{_SEPARATOR}applied {log.applied_per_s:,.1f}/s{_SEPARATOR}",
        (letters, "yellow" if log.dead_letters else ""),
        f"{_SEPARATOR}repeated {log.repeated:,}{_SEPARATOR}overlay {count(log.overlay_items)}",
    )
    brief = line(("lag    ", "dim"), _SEPARATOR.join(_lag_of(log.lags)))
    if not log.lags:
        return [[first]]
    rows = [
        line(("lag    ", "dim"), f"{topic:<24} ", _SEPARATOR.join(_partitions(log.lags, topic)))
        for topic in dict.fromkeys(row.topic for row in log.lags)
    ]
    return [[first, brief], [first, *rows]]


def _lag_of(lags: Sequence[LagRow]) -> list[str]:
    sums: dict[str, int] = {}
    for row in lags:
        sums[row.process] = sums.get(row.process, 0) + row.lag
    return [f"{process} {lag:,}" for process, lag in sums.items()]


def _partitions(lags: Sequence[LagRow], topic: str) -> list[str]:
    """Return ``profiles 0+3 40 ms``: the lags of a process in the topic's partitions, and its longest delay."""
    words = []
    for process in dict.fromkeys(row.process for row in lags if row.topic == topic):
        mine = [row for row in lags if row.topic == topic and row.process == process]
        delays = [row.delay_s for row in mine if row.delay_s is not None]
        late = f" {figures.milliseconds(1e3 * max(delays))}" if delays else ""
        words.append(f"{process} {'+'.join(f'{row.lag:,}' for row in mine)}{late}")
    return words


def learning(shown: Overview, _form: Frame) -> Forms:
    """Return pace and quality in two lines; one of several models begins with its name."""
    several = len(shown.learning) > 1
    return [
        [
            each
            for trainer in shown.learning.values()
            for each in (_pace(trainer, f"{trainer.model} " if several else ""), _recall(trainer))
        ]
    ]


def _pace(trainer: Learning, named: str) -> Text:
    return line(
        ("trainer ", "dim"),
        (named, "bold"),
        f"{trainer.algorithm} {trainer.events_per_s:,.1f} events/s{_SEPARATOR}learned {trainer.learned:,}",
        f"{_SEPARATOR}{trainer.users:,} users{_SEPARATOR}{trainer.items:,} items",
        f"{_SEPARATOR}{trainer.snapshots_cut:,} cut",
    )


def _recall(trainer: Learning) -> Text:
    better = (trainer.recall or 0.0) >= (trainer.popular_recall or 0.0)
    newest = f"{figures.share(trainer.newest_recall)} to {figures.share(trainer.newest_popular_recall)}"
    return line(
        ("recall  ", "dim"),
        ("served ", "dim"),
        (figures.share(trainer.recall), "bold green" if better else "bold yellow"),
        (" popularity ", "dim"),
        figures.share(trainer.popular_recall),
        (f" @20 of {trainer.evaluated:,}{_SEPARATOR}newest 2,000: {newest}", "dim"),
    )


def table(
    columns: Sequence[str], rows: Sequence[Sequence[tuple[str, str]]], right: Sequence[str] = ()
) -> list[Text]:
    """Return a heading and a line per row of (text, style) cells, in columns two blanks apart."""
    heading = [(column, "dim") for column in columns]
    widths = [max(cell_len(row[place][0]) for row in (heading, *rows)) for place in range(len(columns))]
    return [
        line(
            *(
                _sized(cell, width, name in right)
                for cell, width, name in zip(row, widths, columns, strict=True)
            )
        )
        for row in (heading, *rows)
    ]


def _sized(cell: tuple[str, str], width: int, to_the_right: bool) -> tuple[str, str]:
    blank = " " * (width - cell_len(cell[0]))
    return (blank + cell[0] if to_the_right else cell[0] + blank) + "  ", cell[1]


def duration(seconds: float) -> str:
    """Return a time span: ``42 s``, ``3:12``, ``5 h 03``, ``2 d 04 h``."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return figures.clock(whole)
    if whole < 86_400:
        return f"{whole // 3_600} h {whole % 3_600 // 60:02d}"
    return f"{whole // 86_400} d {whole % 86_400 // 3_600:02d} h"


def count(value: int | None) -> str:
    """Return a number that may be unknown."""
    return figures.UNKNOWN if value is None else f"{value:,}"


def _percent(value: float | None) -> str:
    return figures.UNKNOWN if value is None else f"{value:.0f} %"


def _size(value: int | None) -> str:
    return figures.UNKNOWN if value is None else readable_bytes(value)
