"""What the whole platform installs by its least values, in ``snapshots/``, so that a review sees what a change does.

``pytest tests/charts --update`` writes them anew: a file for each chart, with the part of the one rendering that is its
own. They are normalised: objects by kind and name, fields by name, and of a CustomResourceDefinition only its head, as
its schema lies in ``manifests/crds``.
"""

from difflib import unified_diff
from pathlib import Path

import pytest
import yaml

from charts.objects import Object, title
from charts.rendering import CHARTS, Helm, Scenario, charts

SNAPSHOTS = Path(__file__).parent / "snapshots"
PLATFORM = Scenario("sluice", CHARTS / "sluice" / "ci" / "default-values.yaml")
COMMAND = "pytest tests/charts --update"


@pytest.mark.parametrize("chart", charts())
def test_the_platform_is_what_the_snapshots_show(
    helm: Helm, chart: str, request: pytest.FixtureRequest
) -> None:
    of_chart = [found for found in helm.render(PLATFORM).all if chart_of(found) == chart]
    made, file = normalised(of_chart), SNAPSHOTS / f"{chart}.yaml"
    if request.config.getoption("--update", default=False):
        file.parent.mkdir(exist_ok=True)
        file.write_text(made)
    assert file.is_file(), f"{file.name} is not there; {COMMAND} writes it"
    before, after = file.read_text().splitlines(), made.splitlines()
    told = "\n".join(unified_diff(before, after, file.name, "rendered now", lineterm="", n=2))
    assert not told, f"if that is meant, {COMMAND} writes it anew:\n{told}"


def test_every_object_is_in_one_of_the_snapshots(helm: Helm) -> None:
    assert {chart_of(found) for found in helm.render(PLATFORM).all} == set(charts())
    assert {file.stem for file in SNAPSHOTS.glob("*.yaml")} == set(charts())


def chart_of(found: Object) -> str:
    """The chart that an object is of."""
    name: str = found["metadata"]["labels"]["helm.sh/chart"].rpartition("-")[0]
    return name


def normalised(found: list[Object]) -> str:
    """Objects in an order that does not depend on templates."""
    return "---\n".join(
        yaml.safe_dump(_short(one), sort_keys=True, width=110) for one in sorted(found, key=title)
    )


def _short(found: Object) -> Object:
    if found["kind"] != "CustomResourceDefinition":
        return found
    versions = [version["name"] for version in found["spec"]["versions"]]
    return {
        **found,
        "spec": {"group": found["spec"]["group"], "names": found["spec"]["names"], "versions": versions},
    }
