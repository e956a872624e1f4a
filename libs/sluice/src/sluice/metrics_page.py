"""The tables of ``docs/reference/metrics.md``, generated from :mod:`sluice.metrics`.

``python -m sluice.metrics_page`` writes them between the page's two marks, ``--check`` exits 1 if they are not
current; what stands around the marks is written by hand.
"""

import sys
from pathlib import Path
from typing import Final

from sluice.errors import InvalidSetting
from sluice.metrics import DECLARED, Metric, Process

FILE: Final = Path("docs/reference/metrics.md")
BEGIN: Final = "<!-- generated from sluice.metrics by `python -m sluice.metrics_page`; do not edit -->"
END: Final = "<!-- end of what is generated -->"
TITLES: Final = {
    Process.API: "Recommender API (`service` = `recommender`)",
    Process.FAISS: "Faiss (`faiss`)",
    Process.PROFILES: "Profiles (`profiles`)",
    Process.TRAINER: "Trainer (`trainer`)",
    Process.CONTROLLER: "Controller (`controller`)",
}


def tables() -> str:
    """Return one section per process: those shared by all of them first, then its own."""
    parts = [_section("Every process", [m for m in DECLARED.values() if len(m.processes) == len(Process)])]
    for process, title in TITLES.items():
        own = [m for m in DECLARED.values() if process in m.processes and len(m.processes) < len(Process)]
        parts.append(_section(title, own))
    return "\n".join(parts)


def _section(title: str, metrics: list[Metric]) -> str:
    rows = "".join(f"| `{m.name}` | {m.kind} | {_labels(m)} | {m.meaning} |\n" for m in metrics)
    return f"### {title}\n\n| name | kind | labels | meaning |\n|---|---|---|---|\n{rows}"


def _labels(metric: Metric) -> str:
    return ", ".join(f"`{label}`" for label in metric.labels)


def current(page: str) -> str:
    """Return ``page`` with its tables made anew; raises :class:`InvalidSetting` if a mark is missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InvalidSetting(f"{FILE} lacks the mark {BEGIN if not begin else END}; put it back")
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


def main() -> None:
    """Write or check the file."""
    page = FILE.read_text()
    text = current(page)
    if "--check" not in sys.argv:
        FILE.write_text(text)
    elif page != text:
        print(f"{FILE} is not current; run python -m sluice.metrics_page", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
