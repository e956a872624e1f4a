"""What ``sluice experiment`` shows: each model beside the one whose name comes first, which it names."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sluice.backing import Backing
from sluice.evidence import EvidenceRow, Hits, Requests
from sluice.settings import Settings
from sluice_cli.main import app

ROLLOUT = "experiment/als"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home where models c and a were tried before b was added."""
    evidence = Backing(Settings(home=str(tmp_path))).experiment("als")
    common = {"rollout": ROLLOUT, "sequence": "1", "at": 1.0}
    for model, hit in (("ns.c", 30), ("ns.a", 20)):
        hits = Hits(
            users=100,
            answers=100,
            hits=hit,
            answers_squared=100.0,
            hits_squared=float(hit),
            answers_hits=float(hit),
        )
        evidence.append([EvidenceRow(snapshot=model, writer="hits/t", hits=hits, **common)])
        requests = Requests(n=7, errors=1)
        evidence.append([EvidenceRow(snapshot=model, writer="requests/w", requests=requests, **common)])
    evidence.append([EvidenceRow(snapshot="ns.b", writer="requests/w", requests=Requests(n=1), **common)])
    return tmp_path


def show(home: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["experiment", "als", "--home", str(home), *arguments])
    assert done.exit_code == 0, done.stderr
    return done.stdout


def test_each_model_is_compared_with_the_first_by_name(home: Path) -> None:
    shown = {each["model"]: each for each in json.loads(show(home, "--json"))}
    assert {model: each["against"] for model, each in shown.items()} == {
        "ns.a": None,
        "ns.b": "ns.a",
        "ns.c": "ns.a",
    }
    difference, low, high = shown["ns.c"]["difference"]
    assert difference == pytest.approx(0.1)
    assert low < difference < high
    assert shown["ns.a"]["difference"] is None
    assert shown["ns.b"]["difference"] is None, "nobody has answered from it"
    assert (shown["ns.c"]["requests"], shown["ns.c"]["errors"]) == (7, 1)


def test_the_column_says_whom_models_are_compared_with(home: Path) -> None:
    head, *rows = show(home).splitlines()
    assert "against ns.a" in head
    [row] = [each for each in rows if "ns.c" in each]
    assert "+0.1000" in row


@pytest.mark.parametrize("name", ["asl", "../als"])
def test_an_unknown_experiment_is_refused_and_leaves_no_file(home: Path, name: str) -> None:
    done = CliRunner().invoke(app, ["experiment", name, "--home", str(home)])
    assert done.exit_code == 2
    assert f"knows nothing of an experiment {name}" in done.stderr
    assert [path.name for path in home.glob("*.db")] == ["model-experiment.als.db"]
