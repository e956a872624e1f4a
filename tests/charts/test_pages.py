"""The charts' pages: their tables are current, and the commands they tell install what they say."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from charts.policy.roles import OPERATOR
from charts.rendering import CHARTS, ROOT, Helm, charts, edges

COMMAND = re.compile(r"^helm install (?:.*\\\n)*.*", re.MULTILINE)
UPGRADE = re.compile(r"helm upgrade [\w-]+ (?P<chart>charts/\w+)(?:.*\\\n)*.*")
PAGES = [*(CHARTS / name / "README.md" for name in charts()), ROOT / "docs" / "reference" / "charts.md"]
TELLING = [
    *PAGES,
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "manifests" / "samples").glob("*.yaml")),
]
"""Where anything is said about installing."""


def test_the_tables_are_current() -> None:
    done = subprocess.run(
        [sys.executable, CHARTS / "readme.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_what_charts_repeat_is_current() -> None:
    """Schemas, global values, the list of edges, and the copies of ``manifests/crds``."""
    done = subprocess.run(
        [sys.executable, CHARTS / "generate.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_the_operator_chart_holds_the_generated_definitions() -> None:
    copies = {file.name: file.read_text() for file in (CHARTS / "operator" / "files" / "crds").iterdir()}
    assert copies == {file.name: file.read_text() for file in (ROOT / "manifests" / "crds").iterdir()}


def test_charts_that_need_the_edges_hold_the_one_list() -> None:
    copies = {file for file in CHARTS.glob("*/edges.yaml") if file.parent.name != "sluice"}
    assert copies
    assert {file.read_text() for file in copies} == {(CHARTS / "sluice" / "edges.yaml").read_text()}
    listed = [(edge["from"], edge["to"], edge.get("port")) for edge in edges()["edges"]]
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_the_commands_of_a_page_render(helm: Helm, page: Path) -> None:
    commands = [shlex.split(found.replace("\\\n", " ")) for found in COMMAND.findall(page.read_text())]
    assert commands
    for _, _, release, chart, *options in commands:
        kept = [
            word for word in options if word not in ("--wait", "--create-namespace", "--dependency-update")
        ]
        assert helm.run("template", release, helm.chart(chart), *kept)


@pytest.mark.parametrize("page", TELLING, ids=lambda page: str(page.relative_to(ROOT)))
def test_an_upgrade_packs_the_parts_anew_first(page: Path) -> None:
    """The flag ``--dependency-update`` leaves parts alone that are packed already: nothing would change."""
    text = page.read_text()
    for found in UPGRADE.finditer(text):
        assert "--dependency-update" not in found[0], found[0]
        assert f"helm dependency update {found['chart']}" in text[: found.start()], found[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_page_tells_the_rights_that_the_policy_allows() -> None:
    section = PAGES[-1].read_text().partition("## What the operator may do")[2].partition("\n## ")[0]
    told = re.findall(r"^\| `([a-z/]+)` \| ([a-z, ]+)", section, re.MULTILINE)
    assert {name: set(verbs.strip().split(", ")) for name, verbs in told} == {
        resource: set(verbs) for (_, resource), verbs in OPERATOR.items()
    }
