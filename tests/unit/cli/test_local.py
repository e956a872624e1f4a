"""Which model of a home is meant, and where its catalog is."""

from pathlib import Path

import pytest

from sluice.backing import Backing
from sluice.settings import Settings
from sluice_cli import connections
from sluice_cli.commands import local
from sluice_cli.commands.shell import InputError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("rollout-default.home", "rollout-default.home-als", "model-default.trained"):
        (tmp_path / f"{name}.db").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "meant", "key"),
    [
        ("rollout", "default.home", "default.home"),
        ("rollout", "home-als", "default.home-als"),
        ("model", "home", "default.home"),
        ("model", "trained", "default.trained"),
    ],
)
def test_a_model_is_named_by_its_key_or_its_name(home: Path, kind: str, meant: str, key: str) -> None:
    assert local.model_key(home, None, meant, kind) == key


def test_several_models_want_one_to_be_named(home: Path) -> None:
    with pytest.raises(InputError, match=r"give --model as one of default\.home, default\.home-als$"):
        local.model_key(home, None, None, "rollout")


def test_a_model_that_was_only_trained_has_no_rollout(home: Path) -> None:
    with pytest.raises(InputError, match=r"does not know model default\.trained; it holds default\.home, "):
        local.model_key(home, None, "default.trained", "rollout")


def test_a_file_names_its_model(home: Path) -> None:
    file = home / "model.yaml"
    file.write_text(
        "{apiVersion: sluice.dev/v1alpha1, kind: RecommenderModel, metadata: {name: home-als},"
        " spec: {algorithm: {type: GMF}}}"
    )
    assert local.model_key(home, file, None, "rollout") == "default.home-als"


def test_the_catalog_is_where_the_home_says(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = Settings(mongo_url="mongodb://db", redis_url="redis://cache", mongo_database="shop")
    connections.keep(home, given)
    asked: list[Settings] = []
    made = Backing.__init__

    def noted(self: Backing, settings: Settings) -> None:
        asked.append(settings)
        made(self, settings)

    monkeypatch.setattr(Backing, "__init__", noted)
    assert local.open_backing(home).shared
    assert (asked[0].mongo_database, asked[0].home) == ("shop", str(home))
