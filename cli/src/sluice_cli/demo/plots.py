"""The page's plots as SVG text. Colours are the page's own variables, so that they follow light and dark."""

import io
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from sluice_cli.demo.record import Point, Record, percentile

PALETTE: Final = {
    "ink": "#010203",
    "muted": "#010204",
    "grid": "#010205",
    "served": "#010206",
    "popular": "#010207",
    "candidate": "#010208",
    "good": "#010209",
    "bad": "#01020a",
}
"""Stand-ins: matplotlib wants colours, the page gets ``var(--name)``."""

_SETTINGS: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "font.size": 11,
    "text.color": PALETTE["ink"],
    "axes.labelcolor": PALETTE["muted"],
    "axes.edgecolor": PALETTE["grid"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALETTE["grid"],
    "grid.linewidth": 0.8,
    "xtick.color": PALETTE["muted"],
    "ytick.color": PALETTE["muted"],
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
PERCENTS: Final = (50, 95, 99)
_MARKED: Final = {
    "Promoted": ("good", "^", "promoted"),
    "Aborted": ("bad", "X", "rejected"),
    "Sabotage": ("popular", "D", "bad candidate let in"),
}


def recall_plot(record: Record) -> str:
    """Return recall@20 over the streamed interactions, of what was served and of popularity."""
    lines = (
        ("recall", "served", "served, all so far", 2.2, 1.0),
        ("window_recall", "served", "served, newest 2,000", 1.2, 0.45),
        ("popular_recall", "popular", "popularity, all so far", 2.2, 1.0),
        ("window_popular_recall", "popular", "popularity, newest 2,000", 1.2, 0.45),
    )

    def draw(axes: Any) -> None:
        for field, colour, label, width, alpha in lines:
            x, y = _series(record.points, field)
            axes.plot(x, y, color=PALETTE[colour], label=label, linewidth=width, alpha=alpha)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("streamed interactions")
        axes.set_ylabel("recall@20")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.legend(loc="lower right", ncols=2)

    return _svg("recall", draw, height=3.6)


def _series(points: Sequence[Point], field: str) -> tuple[list[int], list[float]]:
    known = [each for each in points if getattr(each, field) is not None]
    return [each.streamed for each in known], [getattr(each, field) for each in known]


def rollout_plot(record: Record) -> str:
    """Return the candidate's weight over time, with who was stable and candidate, and how each ended."""

    def draw(axes: Any) -> None:
        at = [each.at for each in record.points]
        weights = [each.weight for each in record.points]
        axes.fill_between(at, weights, step="post", color=PALETTE["candidate"], alpha=0.35, linewidth=0)
        axes.step(at, weights, where="post", color=PALETTE["candidate"], linewidth=1.6)
        _bands(axes, record.points, "candidate", -24, "candidate")
        _bands(axes, record.points, "stable", -46, "served")
        _ends(axes, record)
        axes.set_ylim(-56, 122)
        axes.set_yticks([-37, -15, 0, 50, 100], ["stable", "candidate", "0 %", "50 %", "100 %"])
        axes.set_xlabel("seconds since the start")
        axes.grid(visible=False, axis="x")

    return _svg("rollouts", draw, height=3.6)


def _bands(axes: Any, points: Sequence[Point], field: str, y: float, colour: str) -> None:
    """Draw one bar per snapshot, alternating in strength so that a change is seen."""
    for number, (start, end, _name) in enumerate(spans(points, field)):
        alpha = 0.85 if number % 2 == 0 else 0.45
        axes.broken_barh([(start, end - start)], (y, 18), color=PALETTE[colour], alpha=alpha, linewidth=0)


def spans(points: Sequence[Point], field: str) -> list[tuple[float, float, str]]:
    """Return (from, to, snapshot) of the times in which ``field`` named the same snapshot."""
    made: list[tuple[float, float, str]] = []
    for before, after in pairwise(points):
        name = getattr(before, field)
        if name is None:
            continue
        if made and made[-1][2] == name and made[-1][1] == before.at:
            made[-1] = (made[-1][0], after.at, name)
        else:
            made.append((before.at, after.at, name))
    return made


def _ends(axes: Any, record: Record) -> None:
    for reason, (colour, marker, label) in _MARKED.items():
        at = [told.at for told in record.told if told.reason == reason]
        style = {"color": PALETTE[colour], "s": 60, "label": label}
        if at:
            axes.scatter(at, [110] * len(at), marker=marker, linewidth=0, zorder=3, **style)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=len(_MARKED))


def times_plot(name: str, values: list[float], what: str) -> str:
    """Return the distribution of durations in milliseconds, with p50, p95 and p99 (log scale)."""
    import numpy as np

    positive = [max(value, 0.01) for value in values]
    edges = np.geomspace(min(positive), max(max(positive), min(positive) * 1.1), 40)

    def draw(axes: Any) -> None:
        axes.hist(positive, bins=edges, color=PALETTE["served"], alpha=0.75)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.set_xlabel(f"{what}, milliseconds")
        axes.grid(visible=False, axis="x")
        for percent in PERCENTS:
            value = percentile(positive, percent)
            axes.axvline(value, color=PALETTE["ink"], linewidth=1, linestyle=":")
            where = axes.get_xaxis_transform()
            axes.text(value, 1.02, f"p{percent}", transform=where, ha="center", fontsize=10)

    return _svg(name, draw, width=5.2, height=3.0)


def _svg(name: str, draw: Any, *, width: float = 10.6, height: float) -> str:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: Any = {**_SETTINGS, "svg.hashsalt": name}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return themed(buffer.getvalue(), name)


def themed(svg: str, name: str) -> str:
    """Return a drawing fit for a page: no prologue, no metadata, ids of its own, the page's colours."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    for variable, colour in PALETTE.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{name}" ', 1)
