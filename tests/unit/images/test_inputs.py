"""When an image is built anew: at a change of what goes into it, and at no other; and what a build needs."""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
sys.path.append(str(TESTS))  # for the package `cluster`

from cluster import images, packages, store  # noqa: E402
from cluster.commands import ClusterError  # noqa: E402


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout that has every file an image of Faiss is made of, and a base image."""
    monkeypatch.setattr(store, "ROOT", tmp_path)
    monkeypatch.setattr(store, "identity", lambda name: "sha256:base")
    for entry in images._inputs("faiss"):
        path = tmp_path / entry / "module.py" if entry.endswith("/src") else tmp_path / entry
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(entry)
    return tmp_path


def test_every_input_of_an_image_exists() -> None:
    missing = [
        path for name in images.NAMES for path in images._inputs(name) if not (store.ROOT / path).exists()
    ]
    assert missing == []


@pytest.mark.parametrize(
    "change", ["services/faiss/src/module.py", "libs/sluice/src/new.py", "requirements/faiss.txt", "LICENSE"]
)
def test_a_change_of_what_goes_in_makes_another_image(tree: Path, change: str) -> None:
    before = images._digest("faiss", "")
    (tree / change).write_text("changed")
    assert images._digest("faiss", "") != before


@pytest.mark.parametrize(
    "change", ["services/trainer/src/module.py", "requirements/trainer.txt", "README.md"]
)
def test_a_change_of_anything_else_makes_no_other_image(tree: Path, change: str) -> None:
    before = images._digest("faiss", "")
    (tree / change).parent.mkdir(parents=True, exist_ok=True)
    (tree / change).write_text("changed")
    bytecode = tree / "services/faiss/src/__pycache__/module.pyc"
    bytecode.parent.mkdir()
    bytecode.write_bytes(b"")
    assert images._digest("faiss", "") == before


def test_another_commit_makes_another_image_for_its_label_names_it(tree: Path) -> None:
    assert images._digest("faiss", "one") != images._digest("faiss", "two")


def test_a_tree_without_git_has_no_revision(tree: Path) -> None:
    assert images._revision(images._inputs("faiss")) == ""


def test_what_a_build_takes_is_installed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "FOLDER", tmp_path / "images")
    monkeypatch.setattr(packages.os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="missing: buildah, debootstrap, skopeo;"):
        images.build()
    assert not store.FOLDER.exists()


def test_a_build_that_fails_is_an_error_of_the_cluster() -> None:
    with pytest.raises(ClusterError, match="false ended with exit code 1"):
        store.run("false")
