"""The command line itself: help, exit codes, one sentence on stderr."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from sluice.errors import StorageUnavailable
from sluice_cli.commands.shell import exit_code, readable_bytes, sentences
from sluice_cli.demo.options import DemoOptions
from sluice_cli.main import app

MODEL = """
apiVersion: sluice.dev/v1alpha1
kind: RecommenderModel
metadata: {name: demo}
spec:
  algorithm: {type: GMF}
  rollout:
    steps: [{setWeight: 50}, {setWeight: 5}, {gate: {names: [absent]}}]
"""


def run(*arguments: str) -> "tuple[int, str, str]":
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def command_names() -> list[list[str]]:
    names = []
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        names += [[name, each] for each in getattr(command, "commands", ())] or [[name]]
    return names


@pytest.mark.parametrize("name", command_names(), ids=" ".join)
def test_every_command_has_help_with_two_examples(name: list[str]) -> None:
    code, out, _ = run(*name, "--help")
    assert code == 0
    assert out.partition("Examples:")[2].count(f"sluice {' '.join(name)}") >= 2


def test_the_commands_that_were_promised_are_there() -> None:
    assert {" ".join(name) for name in command_names()} == {
        "demo", "up", "prepare", "train", "evaluate", "recommend", "top", "experiment",
        "snapshots list", "snapshots show", "snapshots verify", "datasets list", "datasets fetch",
        "keys create", "keys list", "keys revoke", "backends fetch", "backends down",
        "rollout get", "rollout promote", "rollout abort", "rollout pause", "rollout resume",
        "rollout rollback", "rollout retry", "rollout history", "rollout lint",
    }  # fmt: skip


def test_parsing_loads_nothing_heavy() -> None:
    heavy = ("numpy", "torch", "faiss", "rich", "matplotlib", "yaml", "falcon")
    code = f"import sys, sluice_cli.main; sys.exit(str([each for each in {heavy} if each in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"


def test_a_problem_of_a_model_file_is_one_line_and_exit_2(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(MODEL)
    code, out, err = run("rollout", "lint", str(tmp_path / "model.yaml"))
    assert (code, out) == (2, "")
    assert [line.partition("spec.")[2][:20] for line in err.splitlines()] == [
        "rollout.steps[1].set",
        "rollout.steps[2].gat",
    ]


def test_a_sound_model_file_is_ok_and_the_unsound_one_beside_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(MODEL.partition("  rollout")[0])
    code, out, err = run("rollout", "lint", str(tmp_path / "good.yaml"), str(tmp_path / "absent.yaml"))
    assert code == 2
    assert out.endswith("good.yaml: OK (default.demo)\n")
    assert "absent.yaml: No such file or directory; give an existing RecommenderModel file" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("demo", "--dataset", "nope"), "dataset 'nope' is unknown"),
        (("demo", "--events", "absent.csv"), "--events absent.csv: there is no such file"),
        (("demo", "--page", "absent/page.html"), "--page absent/page.html: its folder does not exist"),
        (("demo", "--algorithm", "ALS"), "'ALS' is not one of"),
        (("demo", "--port", "70000"), "'--port': Input should be less than or equal to 65535"),
        (("demo", "--limit", "0"), "'--limit': Input should be greater than or equal to 1"),
        (("up", "-f", "absent.yaml"), "absent.yaml: No such file"),
        (("up",), "Missing option '-f'"),
        (("datasets", "fetch", "otto-20"), "otto-20 cannot be fetched"),
        (
            ("snapshots", "list", "--home", "absent"),
            "absent holds no local platform; start one with sluice up",
        ),
        (
            ("rollout", "get", "--home", "absent"),
            "absent holds no local platform; start one with sluice up",
        ),
        (
            ("rollout", "pause", "--home", "absent", "--model", "default.demo"),
            "absent holds no local platform; start one with sluice up",
        ),
        (("recommend", "1", "--url", "nowhere"), "--url nowhere is no address"),
    ],
)
def test_wrong_input_is_one_sentence_and_exit_2(
    arguments: tuple[str, ...], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert "Traceback" not in err
    assert not (tmp_path / "absent").exists(), "a home that was mistyped is not made"


def test_debug_keeps_the_traceback() -> None:
    result = CliRunner().invoke(app, ["--debug", "up", "-f", "absent.yaml"])
    assert type(result.exception).__name__ == "InvalidModel"


def test_an_error_of_the_system_names_file_and_fix(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="absent") as caught:
        (tmp_path / "absent").read_bytes()
    assert sentences(caught.value) == [f"{tmp_path / 'absent'}: no such file or directory; check the path"]
    assert exit_code(caught.value) == 1
    assert exit_code(StorageUnavailable("log.db cannot be written")) == 1


def test_the_datasets_are_listed_as_text_that_is_not_cut() -> None:
    code, out, _ = run("datasets", "list", "--directory", "nowhere")
    assert code == 0
    assert "ml-latest-small" in out
    assert "synthetic" in out
    assert "made when asked for" in out


def test_the_version_is_told() -> None:
    assert run("--version")[1].startswith("sluice 0.")


@pytest.mark.parametrize(
    ("count", "words"), [(812, "812 B"), (519_912, "519.9 kB"), (3_200_000_000, "3.2 GB")]
)
def test_sizes_are_readable(count: int, words: str) -> None:
    assert readable_bytes(count) == words


def test_a_file_of_events_stands_for_a_dataset() -> None:
    assert DemoOptions().source == "ml-latest-small"
    assert DemoOptions(events=Path("clicks.csv")).source == "file:clicks.csv"
