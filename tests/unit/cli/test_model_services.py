"""Which processes a platform of one model has, and which one of several."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from sluice.settings import Settings
from sluice_cli import platform as platforms
from sluice_cli.fleet import Files, LocalFleet
from sluice_cli.platform import Platform
from sluice_cli.supervisor import Supervisor
from sluice_operator.rollout.actions import GroupName
from sluice_recommender.settings import pod_urls

MODEL = """
apiVersion: sluice.dev/v1alpha1
kind: RecommenderModel
metadata: {{name: {name}}}
spec: {{algorithm: {{type: GMF}}}}
"""
CONNECTED = Settings(kafka="broker:9092", mongo_url="mongodb://db", redis_url="redis://cache")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.yaml" for name in ("home", "home-als")]
    for path in paths:
        path.write_text(MODEL.format(name=path.stem))
    return paths


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Platform]]:
    """Platforms that start no process."""
    monkeypatch.setattr(Supervisor, "start", lambda self: None)
    monkeypatch.setattr(Supervisor, "wait_ready", lambda self, names, timeout_s: None)
    monkeypatch.setattr(platforms.prepare, "prepare", lambda settings, models: [])
    running: list[Platform] = []
    yield running
    for each in running:
        each.stop()


def start(
    made: list[Platform],
    home: Path,
    files: list[Path],
    connected: Settings | None = None,
    experiment: str = "",
) -> Platform:
    platform = Platform(home, files, 0, connected or Settings(), experiment)
    made.append(platform)
    platform.start()
    platform.start_trainer()
    return platform


def test_one_model_has_plain_names_and_the_homes_own_fleet(
    made: list[Platform], tmp_path: Path, files: list[Path]
) -> None:
    platform = start(made, tmp_path / "state", files[:1])
    assert set(platform._wanted) == {"stable-0", "controller", "profiles", "api", "trainer"}
    controller = platform._wanted["controller"].environment
    assert (controller["SLUICE_FLEET"], controller["SLUICE_MODEL_FILE"]) == ("", str(files[0]))
    assert platform.model_file == files[0]


def test_several_models_have_processes_of_their_own_and_share_api_and_profiles(
    made: list[Platform], tmp_path: Path, files: list[Path]
) -> None:
    platform = start(made, tmp_path / "state", files)
    own = {
        f"{name}.{each}" for name in ("home", "home-als") for each in ("stable-0", "controller", "trainer")
    }
    assert set(platform._wanted) == own | {"profiles", "api"}
    api = platform._wanted["api"].environment
    assert api["SLUICE_MODEL_FILE"] == ",".join(map(str, files))
    for group, variable in ((GroupName.STABLE, "STABLE"), (GroupName.CANARY, "CANARY")):
        name = f"FAISS_{variable}_URLS"
        urls = pod_urls(api[f"SLUICE_{name}"], name, ["default.home", "default.home-als"])
        assert [len(each) for each in urls.values()] == [1 if group is GroupName.STABLE else 2] * 2
        assert not set(urls["default.home"]) & set(urls["default.home-als"])


def test_the_fleets_of_two_models_do_not_meet(
    made: list[Platform], tmp_path: Path, files: list[Path]
) -> None:
    home = tmp_path / "state"
    platform = start(made, home, files)
    process = SimpleNamespace(pid=1, started_at=0.0, restarts=0)
    platform._tell({"home.stable-0": process, "home-als.stable-0": process})
    first, second = (LocalFleet(home, model) for model in ("default.home", "default.home-als"))
    first.want(GroupName.STABLE, ("s1",), 7)
    second.want(GroupName.STABLE, ("s2",), 3)
    second.scale_canary(2, 3)
    assert [each.name for each in Files(home, "default.home").pods()] == ["home.stable-0"]
    wanted = platform._all_wanted()
    assert {name for name in wanted if "canary" in name} == {"home-als.canary-0", "home-als.canary-1"}
    held = {
        name: Path(wanted[f"{name}.stable-0"].environment["SLUICE_WANTED_FILE"]).read_bytes()
        for name in ("home", "home-als")
    }
    assert held == {"home": b'["s1"]', "home-als": b'["s2"]'}


def test_every_service_is_connected_alike(made: list[Platform], tmp_path: Path, files: list[Path]) -> None:
    platform = start(made, tmp_path / "state", files, CONNECTED)
    for service in platform._wanted.values():
        assert service.environment["SLUICE_KAFKA"] == "broker:9092"
        assert service.environment["SLUICE_MONGO_URL"] == "mongodb://db"
        assert service.environment["SLUICE_REDIS_URL"] == "redis://cache"
        assert "SLUICE_STORE" not in service.environment


def test_api_and_profiles_have_the_same_experiment(
    made: list[Platform], tmp_path: Path, files: list[Path]
) -> None:
    tried = "als@2026-11-21: home=50, home-als=50"
    platform = start(made, tmp_path / "state", files, experiment=tried)
    told = {name: platform._wanted[name].environment["SLUICE_EXPERIMENT"] for name in ("api", "profiles")}
    assert told == {"api": tried, "profiles": tried}, "one deals users, the other counts their hits"


def test_another_model_in_a_home_begins_with_a_fence_of_its_own(
    made: list[Platform], tmp_path: Path, files: list[Path]
) -> None:
    home = tmp_path / "state"
    start(made, home, files[:1])
    LocalFleet(home).scale_canary(1, 50)
    made.pop().stop()
    start(made, home, files[:1])
    assert (home / "fleet" / "epoch").read_text() == "50", "the same model goes on"
    made.pop().stop()
    start(made, home, files[1:])
    LocalFleet(home).scale_canary(1, 1)
