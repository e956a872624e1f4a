"""The page holds the figures, needs nothing from elsewhere, and takes no text for markup."""

import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sluice_cli.demo.example import Example, curl_lines
from sluice_cli.demo.page import write_page
from sluice_cli.demo.plots import PALETTE, spans
from sluice_cli.demo.record import Record, Told

VOID = {"meta", "br", "use", "img", "link"}


class Balanced(HTMLParser):
    """Notes tags that do not close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and (not self.open or self.open.pop() != tag):
            self.wrong.append(tag)


@pytest.fixture(scope="module")
def page(finished: Record, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "demo-report.html"
    write_page(finished, path, Example("448", "a/b"))
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "figure", ["1.25×", ".118", ".094", "4,350", "39,806", "14.2 s", "20.7 ms", "69.0 ms", "p95 19.9 ms"]
)
def test_the_page_holds_the_figure(page: str, figure: str) -> None:
    assert figure in page


def test_the_page_is_self_contained(page: str) -> None:
    assert not re.search(r"""(src|href|action)\s*=\s*["']?[^"'#\s]""", page)
    assert not re.search(r"@import|url\((?!#)|<script|<link|<iframe", page)


def test_the_page_is_well_formed_and_its_ids_are_unique(page: str) -> None:
    parser = Balanced()
    parser.feed(page)
    assert not parser.wrong
    assert not parser.open
    assert len(parser.ids) == len(set(parser.ids))


def test_the_page_draws_four_plots_in_its_own_colours(page: str) -> None:
    assert page.count("<svg") == 4
    assert "var(--served)" in page
    assert not any(colour in page for colour in PALETTE.values())


def test_text_of_others_is_escaped(page: str) -> None:
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; Friends" in page
    assert "gate recall failed: -0.11 &lt;b&gt;" in page


def test_a_run_in_which_nothing_happened_has_a_page_too(tmp_path: Path) -> None:
    write_page(Record(dataset="d", note="", algorithm="GMF"), tmp_path / "page.html")
    assert "No event was evaluated" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_run_whose_only_answer_took_no_time_has_a_page(record: Record, tmp_path: Path) -> None:
    record.latencies_ms = [0.0]
    record.told = [Told(at=1.0, reason="Sabotage", message="let in")]
    write_page(record, tmp_path / "page.html")


def test_spans_join_neighbours_of_one_name(record: Record) -> None:
    assert [name for _, _, name in spans(record.points, "stable")] == [
        "gmf-000034006-aaaa",
        "gmf-000036506-bbbb",
    ]
    assert [(start, end) for start, end, _ in spans(record.points, "candidate")] == [(10.0, 25.0)]


def test_commands_survive_hostile_ids() -> None:
    lines = curl_lines("http://127.0.0.1:8080", Example("o'neil; rm", "a/b"))
    assert shlex.split(lines[0])[-1] == "http://127.0.0.1:8080/v1/recommendations/o%27neil%3B%20rm?n=5"
    assert shlex.split(lines[1])[5] == '{"user_id":"o\'neil; rm","item_id":"a/b"}'
    assert shlex.split(lines[2])[-1].endswith("/v1/items/a%2Fb/similar?n=5")
