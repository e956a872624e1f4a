"""What a home remembers of the servers it stands on, and how options become that."""

import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluice import settings
from sluice.errors import InvalidSetting
from sluice.settings import Settings
from sluice_cli import connections
from sluice_cli.commands import connecting
from sluice_cli.commands.shell import InputError

SECRET = "mongodb://sluice:hunter2@db:27017"
GIVEN = Settings(kafka="broker:9092", mongo_url=SECRET, redis_url="redis://cache:6379", mongo_database="shop")


def options(**given: Any) -> Settings:
    names = ("kafka", "kafka_properties", "mongo", "mongo_file", "redis", "redis_file")
    return connecting.connections(**(dict.fromkeys(names) | given))


def test_what_is_kept_is_found_again_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    connections.keep(tmp_path, connections.chosen(tmp_path, GIVEN))
    found = connections.settings_of(tmp_path)
    assert found == msgspec.structs.replace(GIVEN, home=str(tmp_path))
    assert stat.S_IMODE((tmp_path / "backing.json").stat().st_mode) == 0o600


def test_a_home_without_servers_is_embedded_and_keeps_nothing(tmp_path: Path) -> None:
    connections.keep(tmp_path, connections.chosen(tmp_path, connections.NONE))
    assert connections.settings_of(tmp_path) == Settings(home=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_start_without_options_goes_on_where_the_home_was(tmp_path: Path) -> None:
    connections.keep(tmp_path, connections.chosen(tmp_path, GIVEN))
    assert connections.chosen(tmp_path, connections.NONE).kafka == "broker:9092"
    moved = connections.chosen(tmp_path, Settings(kafka="other:9092"))
    assert (moved.kafka, moved.mongo_url) == ("other:9092", "")


def test_files_and_folders_mean_the_same_in_every_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = Settings(mongo_url_file="mongo.url", redis_url_file="redis.url", store="snapshots")
    found = connections.chosen(tmp_path, given)
    assert (found.mongo_url_file, found.store) == (str(tmp_path / "mongo.url"), str(tmp_path / "snapshots"))
    assert connections.chosen(tmp_path, Settings(store="s3://bucket/prefix")).store == "s3://bucket/prefix"


def test_services_are_connected_by_their_environment() -> None:
    environment = connections.environment(GIVEN)
    assert settings.read(Settings, environment) == GIVEN
    assert "SLUICE_STORE" not in environment
    assert connections.environment(connections.NONE) == {"SLUICE_MONGO_DATABASE": "sluice"}


def test_what_it_is_connected_to_is_told_without_addresses() -> None:
    assert connections.described(GIVEN) == "Kafka, MongoDB, Redis"
    assert connections.described(Settings(store="s3://bucket")) == "a snapshot store"
    assert connections.described(connections.NONE) == ""


def test_a_damaged_file_is_told_without_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "backing.json").write_text(f'{{"mongo_url": "{SECRET}"')
    with pytest.raises(
        InvalidSetting, match=r"backing\.json is damaged: .*; give sluice up its --kafka"
    ) as told:
        connections.settings_of(tmp_path)
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"kafka": "broker"}, "--kafka broker is no HOST:PORT"),
        ({"kafka": "a:1,:2"}, "--kafka :2 is no HOST:PORT"),
        ({"mongo": SECRET}, "--redis is missing; MongoDB and Redis are used together"),
        ({"redis": "redis://cache"}, "--mongo is missing; MongoDB and Redis are used together"),
        ({"mongo_file": Path("absent")}, "--mongo-file absent: there is no such file"),
        ({"kafka_properties": Path("absent")}, "--kafka-properties absent: there is no such file"),
        ({"kafka_properties": Path(__file__)}, "--kafka-properties is given without --kafka"),
        (
            {"mongo": SECRET, "mongo_file": Path(__file__), "redis": "redis://cache"},
            "--mongo and --mongo-file are both given",
        ),
    ],
)
def test_options_that_do_not_go_together_are_one_sentence(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as told:
        options(**given)
    assert str(told.value).startswith(sentence)
    assert "hunter2" not in str(told.value)


def test_options_become_settings() -> None:
    found = options(kafka="a:1,b:2", mongo_file=Path(__file__), redis="redis://cache", store="s3://b")
    assert (found.kafka, found.mongo_url_file, found.redis_url) == ("a:1,b:2", __file__, "redis://cache")
    assert found.store == "s3://b"
