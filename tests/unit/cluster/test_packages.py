"""Missing programs are installed by root, whoever else is at apt just then."""

from pathlib import Path

import pytest

from cluster import packages
from cluster.commands import ClusterError


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An apt-get that writes down what it is asked and installs a program called ``tool``."""
    program = tmp_path / "apt-get"
    program.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {tmp_path}/calls\n'
        f"[ $1 = update ] && {{ : > {tmp_path}/updated; exit; }}\n"
        f"[ -e {tmp_path}/updated ] || exit 100\n"
        f": > {tmp_path}/tool; /bin/chmod +x {tmp_path}/tool\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLUICE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packages.os, "geteuid", lambda: 0)
    return tmp_path / "calls"


def test_every_call_of_apt_waits_for_who_holds_its_lock(apt: Path) -> None:
    packages.install({"tool": "tools"})
    calls = apt.read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["install", "update", "install"]
    assert all("-o DPkg::Lock::Timeout=300" in call for call in calls)


def test_what_is_there_is_not_installed(apt: Path) -> None:
    packages.install({"apt-get": "apt", f"{apt.parent}/apt-*": "apt"})
    assert not apt.exists()


def test_who_may_not_install_is_told_what_to(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match="missing: other, tools;"):
        packages.install({"tool": "tools", "/absent": "other"})
    assert not apt.exists()
