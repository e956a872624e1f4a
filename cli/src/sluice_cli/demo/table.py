"""How a run ends in the terminal: its figures, the API's address, and three commands to try."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sluice_cli.demo import figures
from sluice_cli.demo.example import Example, curl_lines, example_of
from sluice_cli.demo.record import Record, percentile, summarize


def result_rows(record: Record) -> list[tuple[str, str]]:
    """Return (figure, value) of a run, for the table and for the page's tiles."""
    summary = summarize(record)
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


def show_closing(console: Console, record: Record, example: Example | None = None) -> None:
    """Print the closing table, then how to go on (unless ``record.api`` is empty: nothing serves)."""
    console.print()
    console.print(_table(record) if console.is_terminal else _plain(record))
    if not record.api:
        return
    console.print(Text.assemble("\nThe API answers at ", (record.api, "bold cyan"), ". Try:\n"))
    for command in curl_lines(record.api, example or example_of(record)):
        console.print(f"  {command}", markup=False, highlight=False, soft_wrap=True)


def _table(record: Record) -> Table:
    table = Table(show_header=False, title="What this run showed", title_justify="left", title_style="bold")
    table.add_column(style="dim")
    table.add_column(justify="right", style="bold")
    for name, value in result_rows(record):
        table.add_row(name, Text(value))
    return table


def _plain(record: Record) -> Text:
    rows = result_rows(record)
    width = max(len(name) for name, _ in rows)
    return Text("\n".join(f"{name:<{width}}  {value}" for name, value in rows))
