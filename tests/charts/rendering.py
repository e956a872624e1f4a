"""The charts rendered by the real helm: every file of values that a chart brings, each once per session.

Charts are copied first, so that resolving their dependencies leaves nothing in the checkout.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import yaml

from charts.objects import Object, Objects, parse
from cluster import layout
from cluster.programs import KUBERNETES
from sluice_cli.backends import BackendUnavailable

ROOT = Path(__file__).parents[2]
CHARTS = ROOT / "charts"
RELEASE, NAMESPACE = "shop", "shop"


class Scenario(NamedTuple):
    """A chart and a file of values."""

    chart: str
    file: Path

    def __str__(self) -> str:
        return f"{self.chart}-{self.file.name.removesuffix('-values.yaml')}"


def charts() -> list[str]:
    """Return the charts that can be installed, by name; a library is none."""
    found = {
        file.parent.name: yaml.safe_load(file.read_text()) for file in sorted(CHARTS.glob("*/Chart.yaml"))
    }
    return [name for name, chart in found.items() if chart["type"] == "application"]


def scenarios() -> list[Scenario]:
    """Return every file of values in ``charts/*/ci``."""
    return [
        Scenario(name, file)
        for name in charts()
        for file in sorted((CHARTS / name / "ci").glob("*-values.yaml"))
    ]


def tool(name: str) -> str:
    """Return the path of a program of the test cluster; raises :class:`BackendUnavailable` if it is not built.

    Building takes minutes, more than a test may.
    """
    program = layout.bin_folder() / name
    if not program.is_file():
        raise BackendUnavailable(f"{program} is not there; PYTHONPATH=tests python -m cluster build makes it")
    return str(program)


class Refused(Exception):
    """What helm said instead of doing it."""


class Helm:
    """The real helm over a copy of the charts in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._program, self._charts = tool("helm"), folder / "charts"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))},
            **{f"HELM_{kind}_HOME": str(folder / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")},
        }
        self._rendered: dict[tuple[str, ...], str] = {}
        shutil.copytree(CHARTS, self._charts, ignore=shutil.ignore_patterns("__pycache__", "*.tgz"))
        for name in charts():
            self.run("dependency", "update", "--skip-refresh", self._charts / name)

    def run(self, *arguments: str | Path) -> str:
        """Return what helm prints; raises :class:`Refused` with its message."""
        command = [self._program, *map(str, arguments)]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode:
            raise Refused(done.stderr or done.stdout)
        return done.stdout

    def render(
        self, scenario: Scenario, *extra: str, release: str = RELEASE, namespace: str = NAMESPACE
    ) -> Objects:
        """Return the objects of a scenario; ``extra`` are further arguments."""
        text = self.template(scenario, *extra, release=release, namespace=namespace)
        values = yaml.safe_load(scenario.file.read_text())
        return Objects(parse(text), values, namespace, crds(), edges())

    def template(
        self, scenario: Scenario, *extra: str, release: str = RELEASE, namespace: str = NAMESPACE
    ) -> str:
        """Return the manifests of a scenario as text, rendered when it is first asked for."""
        key = (scenario.chart, str(scenario.file), release, namespace, *extra)
        if key not in self._rendered:
            arguments = self.arguments(scenario)
            self._rendered[key] = self.run("template", release, *arguments, "--namespace", namespace, *extra)
        return self._rendered[key]

    def arguments(self, scenario: Scenario) -> tuple[str, ...]:
        """Return what makes helm take a scenario: its chart, the version of Kubernetes, its values."""
        chart = str(self._charts / scenario.chart)
        return (chart, "--kube-version", KUBERNETES, "--values", str(scenario.file))

    def chart(self, path: str) -> Path:
        """Return the copy of a chart that a command names by its path in the checkout."""
        return self._charts.parent / path

    def lint(self, scenario: Scenario) -> str:
        """Return what ``helm lint --strict`` says."""
        return self.run("lint", "--strict", self._charts / scenario.chart, "--values", scenario.file)

    def refusal(self, chart: str, *arguments: str | Path) -> str:
        """Return the message with which helm refuses to render; fails if it renders."""
        try:
            self.run("template", RELEASE, self._charts / chart, *arguments)
        except Refused as error:
            return str(error)
        raise AssertionError(f"helm rendered {chart} with {' '.join(map(str, arguments))}")


def crds() -> dict[str, Object]:
    """Return the generated CustomResourceDefinitions by name."""
    found = [
        yaml.safe_load(file.read_text()) for file in sorted((ROOT / "manifests" / "crds").glob("*.yaml"))
    ]
    return {one["metadata"]["name"]: one for one in found}


def edges() -> Object:
    """Return the list of edges."""
    found: Object = yaml.safe_load((CHARTS / "sluice" / "edges.yaml").read_text())
    return found
