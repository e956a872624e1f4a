"""Events of log lines are short sentences without variables, and the reference lists those that matter."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "logs.md"
SOURCES = ("libs", "operator", "services", "cli")
LEVELS = ("debug", "info", "warning", "error", "critical")
WARN = "_warn"
"""A warning that is told once a second at most."""
SENTENCE = re.compile(r"[a-z][a-z0-9',]*( [a-z0-9][a-z0-9',-]*)*")


class Line(NamedTuple):
    """One call of a logger; ``event`` is None if it is no literal."""

    place: str
    level: str
    event: str | None


def lines_of(path: Path) -> Iterator[Line]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and _is_logger(node.func):
            assert isinstance(node.func, ast.Attribute)
            for event in _events(node.args[0]):
                level = "warning" if node.func.attr == WARN else node.func.attr
                yield Line(f"{path.relative_to(ROOT)}:{node.lineno}", level, event)


def _is_logger(function: ast.expr) -> bool:
    if not isinstance(function, ast.Attribute) or function.attr not in (*LEVELS, WARN):
        return False
    if function.attr == WARN:
        return True
    owner = function.value.func if isinstance(function.value, ast.Call) else function.value
    return ast.unparse(owner) in ("_log", "_LOG", "structlog.get_logger")


def _events(argument: ast.expr) -> list[str | None]:
    match argument:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.IfExp(body=body, orelse=orelse):
            return [*_events(body), *_events(orelse)]
    return [None]


LINES = [
    line for folder in SOURCES for path in sorted((ROOT / folder).rglob("*.py")) for line in lines_of(path)
]
NAMED_ELSEWHERE = {"services/recommender/src/sluice_recommender/api/serving.py"}
"""Its one call passes on the literals given to ``_warn``."""


def documented() -> dict[str, str]:
    """Event and level of each row of the page's table."""
    rows = re.findall(rf"^\| `([^`]+)` \| ({'|'.join(LEVELS)}) \|", PAGE.read_text(), flags=re.MULTILINE)
    return dict(rows)


def test_there_are_lines() -> None:
    assert len(LINES) > 30


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.place)
def test_an_event_is_a_sentence_without_variables(line: Line) -> None:
    if line.event is None:
        assert line.place.partition(":")[0] in NAMED_ELSEWHERE
    else:
        assert SENTENCE.fullmatch(line.event), line.event
        assert " " in line.event or "-" not in line.event, f"{line.event} is a word in kebab case"


def test_the_page_lists_every_line_from_level_warning_on() -> None:
    there = {line.event for line in LINES if line.level in LEVELS[2:] and line.event}
    assert there - documented().keys() == set()


def test_the_page_lists_nothing_that_is_not_there() -> None:
    literals = "\n".join(path.read_text() for folder in SOURCES for path in (ROOT / folder).rglob("*.py"))
    for event in documented():
        assert f'"{event}"' in literals, event
