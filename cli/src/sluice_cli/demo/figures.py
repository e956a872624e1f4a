"""Figures as people read them, the same in the live view, the closing table and the page."""

from typing import Final

from sluice_cli.demo.record import Point, Record, percentile

UNKNOWN: Final = "–"
NEWEST: Final = 2_000
"""The live view's p99 is over so many requests."""
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_ASCII: Final = ".:-=+*#@"


def clean(text: str) -> str:
    """Return text of others (titles, messages) without anything that a terminal would obey.

    >>> clean("a" + chr(27) + "[31m\tb")
    'a�[31m�b'
    """
    return "".join(character if character.isprintable() else "�" for character in text)


def share(value: float | None) -> str:
    """Return a recall: ``.118``."""
    return UNKNOWN if value is None else f"{value:.3f}".removeprefix("0")


def number(value: float | None, digits: int = 3) -> str:
    """Return a signed number with so many decimals."""
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def milliseconds(value: float | None) -> str:
    """Return a duration: ``8.3 ms``, ``120 ms``, ``1.2 s``."""
    if value is None:
        return UNKNOWN
    if value >= 1_000:
        return f"{value / 1_000:.1f} s"
    return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def clock(seconds: float) -> str:
    """Return elapsed time: ``1:07``."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def to_stream(record: Record) -> int:
    """Return how many interactions follow the history; never fewer than were streamed already."""
    return max(record.total - record.history, record.points[-1].streamed if record.points else 0)


def ratio(record: Record) -> float | None:
    """Return how much better than popularity what was served is; None before both are known."""
    point = record.points[-1] if record.points else None
    if point is None or not point.recall or not point.popular_recall:
        return None
    return point.recall / point.popular_recall


def times(value: float | None) -> str:
    """Return a ratio: ``1.28×``."""
    return UNKNOWN if value is None else f"{value:.2f}×"


def latency_p99(record: Record) -> float | None:
    """Return the p99 of the newest requests in milliseconds."""
    return percentile(record.latencies_ms[-NEWEST:], 99)


def sparkline(points: list[Point], width: int, *, ascii_only: bool = False) -> str:
    """Return the windowed recall over the run so far in ``width`` marks, from its least to its greatest."""
    values = [each.window_recall for each in points if each.window_recall is not None]
    if len(values) < 2:
        return ""
    if len(values) > width:
        values = [values[round(place * (len(values) - 1) / (width - 1))] for place in range(width)]
    marks = _ASCII if ascii_only else _BLOCKS
    least, spread = min(values), max(values) - min(values) or 1.0
    return "".join(marks[round((value - least) / spread * (len(marks) - 1))] for value in values)
