"""The live view fits its terminal and shows the numbers; without a terminal there are plain lines."""

import io

import pytest
from rich.console import Console

from sluice_cli.demo.live import LiveView, compose
from sluice_cli.demo.record import Record, Told, summarize
from sluice_cli.demo.sections import Frame
from sluice_cli.demo.table import show_summary
from sluice_cli.demo.view import PlainView, open_view


def drawn(record: Record, width: int, height: int, *, ascii_only: bool = False) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), record=True, force_terminal=True)
    console.print(compose(record, record.told, Frame(width, 83.0, ascii_only), height))
    return console.export_text().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (60, 16)])
def test_a_frame_fits_the_terminal(record: Record, width: int, height: int) -> None:
    lines = drawn(record, width, height)
    assert len(lines) < height
    assert max(len(line) for line in lines) <= width


@pytest.mark.parametrize(
    "shown",
    [
        "ml-latest-small · GMF · streaming · 1:23",
        "5,800 / 14,574 · 40%",
        "400 events/s · lag 12 · p99 20.7 ms",
        "served .118 popularity .094 1.25×",
        "3 cut, 1 promoted, 1 rejected",
        "stable gmf-000034006-aaaa",
        "50 % · candidate gmf-000036506-bbbb",
        "step 2 of 4 (gate recall)",
        "[-0.051, 0.043] -0.040   1,612 800 more, ~20 s",
        "latency (dry)",
        "new top items after 38.4 ms",
        "now Alien · Fargo",
        "0:20 Aborted gate recall failed",
    ],
)
def test_a_frame_shows(record: Record, shown: str) -> None:
    assert shown in "\n".join(drawn(record, 80, 24))


def test_a_title_cannot_steer_the_terminal(record: Record) -> None:
    assert "<script>alert(1)</script> & Friends�[31m" in "\n".join(drawn(record, 80, 24))


def test_a_terminal_without_unicode_gets_ascii_bars(record: Record) -> None:
    assert "##########.........." in "\n".join(drawn(record, 80, 24, ascii_only=True))


def test_a_run_that_has_just_begun_can_be_shown() -> None:
    lines = "\n".join(drawn(Record(dataset="d", note="", algorithm="GMF"), 80, 24))
    assert "nothing evaluated yet" in lines
    assert "waits for a first snapshot" in lines


def test_the_live_view_draws_updates_and_stories(record: Record) -> None:
    out = io.StringIO()
    view = LiveView(Console(file=out, force_terminal=True, width=80, height=24), clock=lambda: 0.0)
    view.update(record)
    view.tell(record.told[0])
    view.close()
    assert "recall" in out.getvalue()
    assert "is stable, nothing was before" in out.getvalue()


def test_plain_lines_come_at_once_and_progress_every_five_seconds(record: Record) -> None:
    out, times = io.StringIO(), iter((0.0, 1.0, 4.9, 5.1))
    view = PlainView(Console(file=out), clock=lambda: next(times))
    for _ in range(4):
        view.update(record)
    view.tell(Told(at=20.0, reason="Aborted", message="bad\x1b[2J", warning=True))
    view.close()
    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    assert "recall@20 .118 (popularity .094, 1.25×, 4,350 evaluated)" in lines[0]
    assert lines[2] == "[  20.0 s] ! Aborted: bad�[2J"
    assert "\x1b" not in out.getvalue()


def test_the_console_decides_which_view() -> None:
    assert isinstance(open_view(Console(file=io.StringIO())), PlainView)
    view = open_view(Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm"}))
    view.close()
    assert isinstance(view, LiveView)


@pytest.mark.parametrize("terminal", [True, False])
def test_the_closing_table_says_how_to_go_on(record: Record, terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=90, no_color=True)
    show_summary(record, summarize(record), "demo-report.html", console)  # type: ignore[arg-type]
    for shown in ("1.25×", "14.2 s", "demo-report.html", "http://127.0.0.1:8080/v1/recommendations/448?n=5"):
        assert shown in out.getvalue()
    assert out.getvalue().count("curl") == 3
