"""`sluice train` and `sluice evaluate`, on a small synthetic stream and through the trainer's own loop."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sluice.embedded.home import lock
from sluice_cli.main import app

MODEL = """
apiVersion: sluice.dev/v1alpha1
kind: RecommenderModel
metadata: {{name: demo}}
spec:
  algorithm: {{type: {0}}}
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.yaml"
    path.write_text(MODEL.format("Popular"))
    return path


@pytest.fixture
def events(tmp_path: Path) -> Path:
    path = tmp_path / "events.csv"
    rows = [f"u{n % 20},i{(n * 7) % 30},{1_700_000_000_000 + n}" for n in range(900)]
    path.write_text("\n".join(["user_id,item_id,ts", *rows]) + "\n")
    return path


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_evaluate_scores_the_stream_against_popularity(model: Path) -> None:
    code, out, _ = run(
        "evaluate", "-f", model, "--dataset", "synthetic", "--limit", 1_500, "--every", 150, "--json"
    )
    found = json.loads(out)
    assert code == 0
    assert (found["history"], found["streamed"]) == (1_050, 450)
    assert found["snapshots"] >= 2
    assert 200 < found["evaluated"] <= 450
    assert 0 < found["served"]["recall@20"] <= found["popularity"]["recall@20"] * 1.5


def test_evaluate_prints_a_table(model: Path, events: Path) -> None:
    code, out, _ = run("evaluate", "-f", model, "--events", events)
    assert code == 0
    assert "630 events of history, 270 streamed" in out
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["metric", "recall@10", "recall@20", "mrr"]


def test_train_cuts_one_snapshot_and_goes_on_where_it_stopped(
    model: Path, events: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    first = json.loads(
        run("train", "-f", model, "--events", events, "--limit", 600, "--home", home, "--json")[1]
    )
    second = json.loads(run("train", "-f", model, "--events", events, "--home", home, "--json")[1])
    assert (first["interactions"], second["interactions"]) == (600, 900)
    assert second["parent"] == first["id"]
    assert run("snapshots", "verify", "--home", home)[0] == 0
    code, _, err = run("train", "-f", model, "--events", events, "--home", home)
    assert code == 1
    assert "has learned these events before" in err


def test_train_without_a_home_keeps_nothing(model: Path, events: Path) -> None:
    code, out, _ = run("train", "-f", model, "--events", events)
    assert code == 0
    assert "900 interactions" in out
    assert "not kept; give --home to keep it" in out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "give either --events FILE or --dataset NAME"),
        (("--dataset", "synthetic", "--events", "x"), "give either --events FILE or --dataset NAME"),
        (("--dataset", "synthetic", "--split", "1"), "--split 1.0 must lie between 0 and 1"),
        (("--dataset", "synthetic", "--limit", "1"), "too few to split"),
        (("--events", "absent.csv"), "absent.csv cannot be read"),
    ],
)
def test_wrong_input_of_evaluate_is_told(model: Path, options: tuple[str, ...], sentence: str) -> None:
    code, out, err = run("evaluate", "-f", model, *options)
    assert (code, out) == (2, "")
    assert sentence in err


def test_evaluate_leaves_a_home_in_use_alone(model: Path, events: Path, tmp_path: Path) -> None:
    run("train", "-f", model, "--events", events, "--home", tmp_path / "home")
    code, _, err = run("evaluate", "-f", model, "--events", events, "--home", tmp_path / "home")
    assert code == 2
    assert "give --home an empty folder" in err


def test_a_relative_home_works_and_refused_rows_are_told(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.txt").write_text("u1:a\nnothing\nu1:b\nu2:a\n")
    code, out, err = run("train", "-f", model, "--events", "own.txt", "--home", "here")
    assert code == 0
    assert "3 interactions" in out
    assert "1 rows refused, the first at line 2" in err
    assert run("snapshots", "verify", "--home", "here")[0] == 0


def test_a_home_that_a_platform_holds_is_refused(model: Path, events: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with lock(home):
        code, _, err = run("train", "-f", model, "--events", events, "--home", home)
    assert code == 2
    assert "is in use by another process; stop it or choose another --home" in err
    assert run("train", "-f", model, "--events", events, "--limit", 600, "--home", home)[0] == 0
