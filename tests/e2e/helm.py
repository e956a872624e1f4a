"""Helm, bound to one release."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from e2e.kubectl import run

INSTALL_S = 300


class Helm:
    """Installs, changes and removes one release of one chart."""

    def __init__(self, program: Path, kubeconfig: Path, namespace: str, release: str, chart: Path) -> None:
        self._program, self._chart = program, chart
        self._bound = ("--kubeconfig", kubeconfig, "--namespace", namespace)
        self.release = release

    def install(self, values: Mapping[str, Any]) -> None:
        """Install and wait until everything is ready."""
        self._with(values, "install", self.release, self._chart, "--wait", f"--timeout={INSTALL_S}s")

    def upgrade(self, changes: Mapping[str, Any], timeout_s: int = INSTALL_S) -> None:
        """Change some values and wait until everything is ready."""
        arguments = ("--reuse-values", "--wait", f"--timeout={timeout_s}s")
        self._with(changes, "upgrade", self.release, self._chart, *arguments)

    def rollback(self, revision: int) -> None:
        """Go back to a revision and wait until everything is ready."""
        self("rollback", self.release, revision, "--wait", f"--timeout={INSTALL_S}s")

    def test(self) -> str:
        """Run the chart's own tests and return what they say."""
        return self("test", self.release, "--timeout=180s")

    def uninstall(self) -> None:
        """Remove the release and wait until its objects are gone."""
        self("uninstall", self.release, "--wait", f"--timeout={INSTALL_S}s")

    @property
    def revisions(self) -> dict[int, str]:
        """Return the status of each revision."""
        history = yaml.safe_load(self("history", self.release, "--output=yaml"))
        return {each["revision"]: each["status"] for each in history}

    @property
    def revision(self) -> int:
        """Return the newest revision."""
        return max(self.revisions)

    @property
    def manifest(self) -> list[dict[str, Any]]:
        """Return the objects that the release made."""
        return [each for each in yaml.safe_load_all(self("get", "manifest", self.release)) if each]

    def __call__(self, *arguments: object, stdin: str | None = None) -> str:
        """Run helm and return its output."""
        return run(self._program, *self._bound, *arguments, stdin=stdin, timeout_s=INSTALL_S + 60)

    def _with(self, values: Mapping[str, Any], *arguments: object) -> None:
        self(*arguments, "--values=-", stdin=yaml.safe_dump(dict(values)))
