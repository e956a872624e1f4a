"""``demo-report.html``: one run on one page that needs nothing from elsewhere. All text of others is escaped."""

from html import escape
from importlib import resources
from pathlib import Path

from sluice_cli.demo import figures, plots
from sluice_cli.demo.example import Example, curl_lines, example_of
from sluice_cli.demo.record import Record, Told, percentile, summarize


def write_page(record: Record, path: Path, example: Example | None = None) -> None:
    """Write the page; ``example`` names ids for the commands to try. Raises OSError if it cannot be written."""
    path.write_text(render(record, example or example_of(record)), encoding="utf-8")


def render(record: Record, example: Example) -> str:
    """Return the page."""
    style = resources.files("sluice_cli.demo").joinpath("style.css").read_text(encoding="utf-8")
    told = (_heading, _tiles, _recall, _rollouts, _times, _clicks, _decisions)
    body = "\n".join([*(part(record) for part in told), _next(record, example)])
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Sluice demo: {escape(record.dataset)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _heading(record: Record) -> str:
    return (
        f"<h1>Sluice demo: {escape(record.algorithm)} on {escape(record.dataset)}</h1>\n"
        f'<p class="note">{escape(record.note)} The first {record.history:,} interactions were the history; the rest'
        " was streamed through the running platform, which learned, cut snapshots and let each through its gates.</p>"
    )


def _tiles(record: Record) -> str:
    summary = summarize(record)
    first = summary.seconds_to_first_answer
    tiles = [
        (figures.times(figures.ratio(record)), "recall@20, served / popularity", True),
        (figures.share(summary.recall_at_20), "recall@20 of what was served", True),
        (figures.share(summary.popularity_recall_at_20), "recall@20 of popularity", False),
        (f"{summary.evaluated:,}", "events evaluated before they were learned", False),
        (f"{summary.events:,}", "events, history and streamed", False),
        (str(summary.snapshots), "snapshots cut", False),
        (str(summary.promoted), "snapshots promoted, every gate passed", False),
        (str(summary.rejected), "snapshots rejected", False),
        (figures.milliseconds(percentile(record.latencies_ms, 99)), "answer latency, p99", False),
        (figures.milliseconds(summary.freshness_p99_ms), "from click to a new answer, p99", False),
        (figures.UNKNOWN if first is None else f"{first:.1f} s", "from start to first answer", False),
        (f"{record.request_errors:,}", "failed requests", False),
    ]
    return '<section class="tiles">\n' + "\n".join(_tile(*each) for each in tiles) + "\n</section>"


def _tile(value: str, label: str, main: bool) -> str:
    kind = "tile main" if main else "tile"
    return f'<div class="{kind}"><b>{escape(value)}</b><span>{escape(label)}</span></div>'


def _recall(record: Record) -> str:
    if not any(point.recall is not None for point in record.points):
        return _section("Quality on the stream", '<p class="hint">No event was evaluated in this run.</p>')
    caption = (
        "Each interaction is scored before it is learned: is the item among the 20 that the served stable snapshot"
        " ranks first for this user, of all items the user has not seen? Popularity answers the same questions."
    )
    return _section("Quality on the stream", _figure(plots.recall_plot(record), caption))


def _rollouts(record: Record) -> str:
    if len(record.points) < 2:
        return _section("Rollouts", '<p class="hint">The run ended before a rollout.</p>')
    caption = (
        "The candidate's share of users over time. The bars below show which snapshot was candidate and which was"
        " stable; a change of shade is another snapshot. A triangle marks a promotion, a cross a rejection."
    )
    return _section("Rollouts", _figure(plots.rollout_plot(record), caption))


def _times(record: Record) -> str:
    drawn = [
        _figure(plots.times_plot(name, values, what), f"{len(values):,} {measured}: {_percents(values)}.")
        for name, values, what, measured in (
            ("latency", record.latencies_ms, "round trip of a recommendation request", "requests"),
            ("freshness", record.freshness_ms, "interaction posted to answer changed", "interactions"),
        )
        if values
    ]
    if not drawn:
        return ""
    return _section("Speed", '<div class="pair">' + "\n".join(drawn) + "</div>")


def _percents(values: list[float]) -> str:
    return ", ".join(f"p{each} {figures.milliseconds(percentile(values, each))}" for each in plots.PERCENTS)


def _clicks(record: Record) -> str:
    if not record.clicks:
        return ""
    last = record.clicks[-1]
    text = (
        f"<p>User {escape(last.user_id)} clicked <b>{escape(last.clicked)}</b>;"
        f" {escape(figures.milliseconds(last.took_ms))} later the answer was another one. New items are green.</p>"
    )
    lists = f"<div><h3>Before</h3>{_titles(last.before, last.before)}</div>"
    lists += f"<div><h3>After</h3>{_titles(last.after, last.before)}</div>"
    return _section("One click", f'{text}\n<div class="pair">{lists}</div>')


def _titles(titles: list[str], known: list[str]) -> str:
    opened = {True: "<li>", False: '<li class="new">'}
    rows = "".join(f"{opened[title in known]}{escape(title)}</li>" for title in titles)
    return f"<ol>{rows}</ol>"


def _decisions(record: Record) -> str:
    if not record.told:
        return ""
    rows = "\n".join(_told(each) for each in record.told)
    table = f"<table>\n<tr><th>at</th><th>what</th><th>why, with the numbers</th></tr>\n{rows}\n</table>"
    return _section("Every decision", f'<div class="scroll">{table}</div>')


def _told(told: Told) -> str:
    kind = " bad" if told.warning else " good" if told.reason == "Promoted" else ""
    return (
        f'<tr><td class="at">{figures.clock(told.at)}</td><td class="why{kind}">{escape(told.reason)}</td>'
        f"<td>{escape(told.message)}</td></tr>"
    )


def _next(record: Record, example: Example) -> str:
    if not record.api:
        return ""
    commands = escape("\n".join(curl_lines(record.api, example)))
    hint = "While the demo still serves (until Ctrl-C): recommendations, an interaction, items."
    return _section("Go on", f'<p class="hint">{hint}</p>\n<pre>{commands}</pre>')


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>"
