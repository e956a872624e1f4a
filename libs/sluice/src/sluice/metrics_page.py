"""The tables of ``docs/reference/metrics.md``, generated from :mod:`sluice.metrics`.

``python -m sluice.metrics_page`` writes them, ``--check`` exits 1 if they are not current.
"""

from pathlib import Path
from typing import Final

from sluice import generated
from sluice.metrics import DECLARED, Metric, Process

PAGE: Final = generated.Page(Path("docs/reference/metrics.md"), "sluice.metrics_page")
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


if __name__ == "__main__":
    generated.main(PAGE, tables())
