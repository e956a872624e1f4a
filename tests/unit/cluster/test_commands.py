"""What the cluster's programs get from the environment, and which commands act on our own node alone."""

import sys
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from cluster import __main__ as command_line
from cluster import containers, images, volumes
from cluster.commands import ClusterError, run, unproxied
from cluster.target import Target

OURS = "10.96.0.0/16,10.98.0.0/16,10.99.0.1,127.0.0.1,localhost"


def test_the_clusters_addresses_are_reached_without_a_proxy() -> None:
    found = unproxied({"HTTPS_PROXY": "http://proxy.example"})
    assert found == {"HTTPS_PROXY": "http://proxy.example", "NO_PROXY": OURS, "no_proxy": OURS}


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_what_was_kept_from_the_proxy_still_is_in_either_case(name: str) -> None:
    found = unproxied({name: "shop.example"})
    assert found == {"NO_PROXY": f"shop.example,{OURS}", "no_proxy": f"shop.example,{OURS}"}


def test_an_environment_that_was_changed_before_stays_as_it_is() -> None:
    once = unproxied({"NO_PROXY": "localhost,shop.example"})
    assert unproxied(once) == once


def test_programs_are_run_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "shop.example")
    told = run(
        sys.executable, "-c", "import os; print(os.environ['NO_PROXY'], os.environ['MORE'])", MORE="yes"
    )
    assert told.split() == [f"shop.example,{OURS}", "yes"]


def test_the_shell_is_told_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("no_proxy", "*.example")
    monkeypatch.delenv("NO_PROXY", raising=False)
    command_line.env()
    assert f"export NO_PROXY='*.example,{OURS}'\n" in capsys.readouterr().out


@pytest.mark.parametrize("command", [command_line.load_images, command_line.offer_volumes])
def test_what_is_for_our_node_is_refused_while_another_cluster_is_meant(
    command: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    touched = list[str]()
    monkeypatch.setattr(command_line, "target", lambda: Target("/config", "kind-shop", is_ours=False))
    monkeypatch.setattr(images, "build", lambda: touched.append("images"))
    monkeypatch.setattr(containers, "import_image", lambda tar: touched.append("containers"))
    monkeypatch.setattr(volumes, "offer", lambda api: touched.append("volumes"))
    with pytest.raises(ClusterError, match="kind-shop is not the node"):
        command()
    assert touched == []


def test_kubectl_gets_its_arguments_as_they_are_and_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["-n", "shop", "exec", "api-1", "--", "python", "-m", "this", "--", "-h"]
    started = list[tuple[list[str], dict[str, str]]]()
    monkeypatch.setattr(command_line, "target", lambda: Target("/config", "kind-shop", is_ours=False))
    monkeypatch.setattr(command_line, "program", lambda name: f"/bin/{name}")
    monkeypatch.setattr(command_line.os, "execve", lambda *call: started.append(call[1:]))
    assert CliRunner().invoke(command_line.app, ["kubectl", *given]).exit_code == 0
    ((arguments, environment),) = started
    assert arguments == ["/bin/kubectl", "--context=kind-shop", *given]
    assert environment["KUBECONFIG"] == "/config"
    assert environment["NO_PROXY"].endswith(OURS)
