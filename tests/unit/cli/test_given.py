"""Which model files one platform runs side by side."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sluice.errors import InvalidModel, InvalidSetting
from sluice_cli import given
from sluice_cli.main import app

MODEL = """
apiVersion: sluice.dev/v1alpha1
kind: RecommenderModel
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{algorithm: {{type: GMF}}, source: {{name: {source}}}}}
"""


def write(
    folder: Path, name: str, *, file: str = "", namespace: str = "default", source: str = "shop"
) -> Path:
    path = folder / f"{file or name}.yaml"
    path.write_text(MODEL.format(name=name, namespace=namespace, source=source))
    return path


def test_models_of_one_source_go_together_under_their_names(tmp_path: Path) -> None:
    found = given.load([write(tmp_path, "home"), write(tmp_path, "home-als")])
    assert [each.model.key for each in found] == ["default.home", "default.home-als"]
    assert given.names(found) == ["home", "home-als"]


def test_equal_names_of_two_namespaces_are_told_apart(tmp_path: Path) -> None:
    files = [
        write(tmp_path, "home", file="a"),
        write(tmp_path, "home", file="b", namespace="test"),
        write(tmp_path, "x"),
    ]
    assert given.names(given.load(files)) == ["default.home", "test.home", "x"]


def test_one_key_twice_is_refused_naming_both_files(tmp_path: Path) -> None:
    files = [write(tmp_path, "home", file="a"), write(tmp_path, "home", file="b")]
    with pytest.raises(InvalidSetting, match=r"a\.yaml and b\.yaml both describe default\.home; give each"):
        given.load(files)


def test_two_sources_are_refused_naming_the_fix(tmp_path: Path) -> None:
    files = [write(tmp_path, "home"), write(tmp_path, "other", source="blog")]
    with pytest.raises(
        InvalidSetting, match=r"reads source shop, other\.yaml reads blog; .*spec\.source\.name"
    ):
        given.load(files)


def test_an_unsound_file_among_them_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="absent"):
        given.load([write(tmp_path, "home"), tmp_path / "absent.yaml"])


def test_up_refuses_them_before_anything_starts(tmp_path: Path) -> None:
    files = [write(tmp_path, "home"), write(tmp_path, "other", source="blog")]
    home = tmp_path / "state"
    result = CliRunner().invoke(app, ["up", "-f", str(files[0]), "-f", str(files[1]), "--home", str(home)])
    assert result.exit_code == 2
    assert result.stderr.startswith("sluice: home.yaml reads source shop")
    assert not home.exists()
