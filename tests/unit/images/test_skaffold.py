"""skaffold.yaml against Skaffold's own schema, and against the files and values it names."""

import copy
import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from charts.objects import parse
from charts.rendering import Helm

ROOT = Path(__file__).parents[3]
CONFIG = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
SCHEMA = json.loads(Path(__file__).with_name("skaffold-v4beta13.json").read_text())
SERVICES = {"operator", "trainer", "faiss", "recommender"}
STAND_INS = {
    "global.kafka.brokers": "kafka:9092",
    "global.mongo.url": "mongodb://mongo:27017",
    "global.redis.url": "redis://redis:6379/0",
    **{f"{service}.image.repository": f"sluice/{service}" for service in SERVICES},
    **{f"{service}.image.tag": "a1b2c3" for service in SERVICES},
}
"""What Skaffold makes of its templates, by the value they are for."""
OrSkip = Callable[[], AbstractContextManager[None]]


def patched(profile: str) -> dict[str, Any]:
    """The configuration with a profile's patches, which add keys at slash separated paths."""
    config = copy.deepcopy(CONFIG)
    for patch in next(p for p in config["profiles"] if p["name"] == profile)["patches"]:
        assert patch["op"] == "add"
        *parents, last = patch["path"].strip("/").split("/")
        place = config
        for step in parents:
            place = place[int(step) if isinstance(place, list) else step]
        place[last] = patch["value"]
    return config


@pytest.mark.parametrize("config", [CONFIG, patched("dev"), patched("e2e")], ids=["plain", "dev", "e2e"])
def test_skaffold_yaml_is_valid_against_the_schema_of_skaffold(config: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(config)


def test_a_misspelt_key_does_not_pass_the_schema() -> None:
    config = copy.deepcopy(CONFIG)
    config["build"]["artefacts"] = config["build"].pop("artifacts")
    assert not jsonschema.Draft7Validator(SCHEMA).is_valid(config)


def test_every_service_is_an_artifact_built_by_its_own_dockerfile_from_the_root() -> None:
    artifacts = {artifact["image"]: artifact for artifact in CONFIG["build"]["artifacts"]}
    assert set(artifacts) == {f"sluice/{service}" for service in SERVICES}
    for image, artifact in artifacts.items():
        dockerfile = ROOT / artifact["context"] / artifact["docker"]["dockerfile"]
        assert artifact["context"] == "."
        assert f'ENTRYPOINT ["sluice-{image.removeprefix("sluice/")}"]' in dockerfile.read_text()


def test_the_release_gets_repository_and_tag_of_every_artifact_under_keys_the_charts_know() -> None:
    (release,) = CONFIG["deploy"]["helm"]["releases"]
    for service in SERVICES:
        values = yaml.safe_load((ROOT / "charts" / service / "values.yaml").read_text())
        for key, variable in (("repository", "REPO"), ("tag", "TAG")):
            assert key in values["image"]
            template = release["setValueTemplates"][f"{service}.image.{key}"]
            assert template == f"{{{{.IMAGE_{variable}_sluice_{service}}}}}"
    assert len(release["setValueTemplates"]) == 2 * len(SERVICES)


@pytest.mark.parametrize("profile", ["dev", "e2e"])
def test_a_profile_names_files_that_exist(profile: str) -> None:
    helm = patched(profile)["deploy"]["helm"]
    named = [helm["releases"][0]["chartPath"], *helm["releases"][0]["valuesFiles"]]
    named += re.findall(
        r"-k (\S+?)[' ]*$",
        " ".join(helm.get("hooks", {"before": [{"host": {"command": []}}]})["before"][0]["host"]["command"]),
    )
    assert named
    assert all((ROOT / path).exists() for path in named), named


def test_the_release_of_the_e2e_profile_gets_ready_by_itself(tmp_path: Path, or_skip: OrSkip) -> None:
    """It is waited for: so it brings the definitions that its operator watches, and makes topics and indexes."""
    with or_skip():
        helm = Helm(tmp_path)
    release = patched("e2e")["deploy"]["helm"]["releases"][0]
    files = [word for file in release["valuesFiles"] for word in ("--values", ROOT / file)]
    given = [word for key in release["setValueTemplates"] for word in ("--set", f"{key}={STAND_INS[key]}")]
    made = parse(helm.run("template", "sluice", helm.chart(release["chartPath"]), *files, *given))
    names = {(found["kind"], found["metadata"]["name"]) for found in made}
    assert release["wait"] is True
    assert {name for kind, name in names if kind == "CustomResourceDefinition"} == {
        "recommendermodels.sluice.dev",
        "indexsnapshots.sluice.dev",
    }
    assert ("Job", "sluice-recommender-prepare") in names
