"""The page about the rollout shows the table as it is."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"


def test_the_diagram_is_the_table() -> None:
    script = runpy.run_path(str(DOCS / "make_rollout_diagram.py"))
    text = (DOCS / "explanation" / "rollout.md").read_text(encoding="utf-8")
    assert script["page"](text) == text, "run python docs/make_rollout_diagram.py"
