"""How a run ends in the terminal: its figures, the API's address, and three commands to try."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sluice_cli.demo import figures
from sluice_cli.demo.example import Example, curl_lines, example_of
from sluice_cli.demo.record import Record, Summary, percentile


def result_rows(record: Record, summary: Summary) -> list[tuple[str, str]]:
    """Return (figure, value) of a run."""
    first = summary.seconds_to_first_answer
    return [
        ("dataset", figures.clean(summary.dataset)),
        ("algorithm", record.algorithm),
        ("events (history + streamed)", f"{summary.events:,}"),
        ("events evaluated", f"{summary.evaluated:,}"),
        ("recall@20 of what was served", figures.share(summary.recall_at_20)),
        ("recall@20 of popularity", figures.share(summary.popularity_recall_at_20)),
        ("served / popularity", figures.times(figures.ratio(record))),
        ("snapshots cut", str(summary.snapshots)),
        ("snapshots promoted", str(summary.promoted)),
        ("snapshots rejected", str(summary.rejected)),
        ("start to first answer", figures.UNKNOWN if first is None else f"{first:.1f} s"),
        ("answer latency p50", figures.milliseconds(percentile(record.latencies_ms, 50))),
        ("answer latency p99", figures.milliseconds(percentile(record.latencies_ms, 99))),
        ("failed requests", f"{record.request_errors:,}"),
        ("click to new answer p99", figures.milliseconds(summary.freshness_p99_ms)),
    ]


def show_summary(
    record: Record, summary: Summary, page: Path, console: Console, example: Example | None = None
) -> None:
    """Print the figures, where the page lies and, if ``record.api`` is set, the API's address and what to try."""
    rows = result_rows(record, summary)
    console.print()
    console.print(_table(rows) if console.is_terminal else _plain(rows))
    _line(console, f"\nThe page with plots: {page}")
    if record.api:
        _line(console, f"The API answers at {record.api}. Try:")
        for command in curl_lines(record.api, example or example_of(record)):
            _line(console, f"  {command}")


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _table(rows: list[tuple[str, str]]) -> Table:
    table = Table(show_header=False, title="What this run showed", title_justify="left", title_style="bold")
    table.add_column(style="dim")
    table.add_column(justify="right", style="bold")
    for name, value in rows:
        table.add_row(name, Text(value))
    return table


def _plain(rows: list[tuple[str, str]]) -> Text:
    width = max(len(name) for name, _ in rows)
    return Text("\n".join(f"{name:<{width}}  {value}" for name, value in rows))
