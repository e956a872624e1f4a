"""skaffold.yaml against Skaffold's own schema, and against the files and values it names."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[3]
CONFIG = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
SCHEMA = json.loads(Path(__file__).with_name("skaffold-v4beta13.json").read_text())
SERVICES = {"operator", "trainer", "faiss", "recommender"}


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
