"""How a run is watched: live in a terminal, or as plain lines where there is none."""

import time
from collections.abc import Callable
from typing import Final, Protocol

from rich.console import Console

from sluice_cli.demo import figures
from sluice_cli.demo.record import Record, Told

PROGRESS_S: Final = 5.0


class View(Protocol):
    """Port: what a run shows itself on. Calls may come from several threads."""

    def update(self, record: Record) -> None:
        """Show the run as it is now; called as often as one likes. The record may go on changing."""

    def tell(self, told: Told) -> None:
        """Show one line of the story, once."""

    def close(self) -> None:
        """End; the terminal is as before."""


class PlainView:
    """One line per told event and a line of progress every :data:`PROGRESS_S`; no control codes."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._shown_at = float("-inf")

    def update(self, record: Record) -> None:
        """See :class:`View`."""
        now = self._clock()
        if record.points and now - self._shown_at >= PROGRESS_S:
            self._shown_at = now
            self._print(_at(record.points[-1].at) + progress_line(record))

    def tell(self, told: Told) -> None:
        """See :class:`View`."""
        mark = "! " if told.warning else ""
        self._print(f"{_at(told.at)}{mark}{told.reason}: {told.message}")

    def close(self) -> None:
        """See :class:`View`."""

    def _print(self, line: str) -> None:
        encoding = self._console.encoding or "utf-8"
        printable = figures.clean(line).encode(encoding, "replace").decode(encoding)
        self._console.file.write(f"{printable}\n")
        self._console.file.flush()


def _at(seconds: float) -> str:
    return f"[{seconds:6.1f} s] "


def progress_line(record: Record) -> str:
    """Return the run in one line."""
    point = record.points[-1]
    rollout = f"{point.phase or record.stage}" + (f" at {point.weight} %" if point.candidate else "")
    return (
        f"{record.stage}: {point.streamed:,} of {figures.to_stream(record):,} streamed,"
        f" {point.events_per_s:,.0f} events/s, lag {point.lag:,};"
        f" recall@20 {figures.share(point.recall)} (popularity {figures.share(point.popular_recall)},"
        f" {figures.times(figures.ratio(record))}, {point.evaluated:,} evaluated);"
        f" p99 {figures.milliseconds(figures.latency_p99(record))}; rollout {rollout}"
    )


def open_view(console: Console) -> View:
    """Return the live view in a terminal, else plain lines."""
    if not console.is_terminal or console.is_dumb_terminal:
        return PlainView(console)
    from sluice_cli.demo.live import LiveView

    return LiveView(console)
