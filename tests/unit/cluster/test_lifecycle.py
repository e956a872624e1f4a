"""A machine with another cluster is left alone; what is ours is told by a marker that outlives a crash."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster import firewall, layout, leftovers, lifecycle, network
from cluster.commands import ClusterError


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of which a folder is all that is touched: kernel settings, and a cache without a state."""
    settings = tmp_path / "sys"
    for name in network._WANTED:
        (settings / name).parent.mkdir(parents=True, exist_ok=True)
        (settings / name).write_text("0\n")
    monkeypatch.setattr(network, "_SYSCTLS", settings)
    monkeypatch.setattr(network, "_links", list)
    monkeypatch.setattr(network, "run", lambda *command: "")
    monkeypatch.setenv("SLUICE_CACHE", str(tmp_path / "cache"))
    return settings


def chains(*found: str) -> Callable[[], list[str]]:
    return lambda: list(found)


def test_up_refuses_a_machine_with_the_chains_of_another_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle.os, "geteuid", lambda: 0)
    monkeypatch.setattr(lifecycle, "build", lambda: None)
    monkeypatch.setattr(firewall, "found_chains", chains("KUBE-ROUTER-INPUT", "KUBE-SERVICES"))
    with pytest.raises(ClusterError, match="KUBE-ROUTER-INPUT, KUBE-SERVICES"):
        lifecycle.up()
    assert not layout.state().exists()


def test_up_goes_on_with_chains_that_an_up_before_has_made(monkeypatch: pytest.MonkeyPatch) -> None:
    network.up()
    monkeypatch.setattr(firewall, "found_chains", chains("KUBE-SERVICES"))
    lifecycle._refuse_beside_another()


def test_the_marker_is_there_before_anything_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*command: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(network, "run", crash)
    with pytest.raises(KeyboardInterrupt):
        network.up()
    assert network.is_changed()


def test_the_marker_outlives_a_down_that_breaks_off_after_the_network(machine: Path) -> None:
    network.up()
    assert {(machine / name).read_text() for name in network._WANTED} == {"1"}
    network.down()
    assert {(machine / name).read_text() for name in network._WANTED} == {"0"}
    assert network.is_changed()


@pytest.mark.parametrize("changed", [True, False])
def test_down_takes_out_rules_only_after_an_up(changed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    cleaned = list[str]()
    monkeypatch.setattr(firewall, "clean", lambda: cleaned.append("rules"))
    monkeypatch.setattr(firewall, "leftovers", lambda: [] if cleaned else ["-X KUBE-SERVICES"])
    for module, name in ((leftovers.cgroups, "remove"), (leftovers, "_remove_files")):
        monkeypatch.setattr(module, name, lambda: None)
    for name in ("processes", "leftovers"):
        monkeypatch.setattr(leftovers.cgroups, name, list)
    if changed:
        network.up()
    assert lifecycle.down() == []
    assert bool(cleaned) is changed
    assert not network.is_changed()
