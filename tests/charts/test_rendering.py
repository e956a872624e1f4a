"""Every file of values that a chart brings renders, and passes ``helm lint --strict``."""

import pytest

from charts.policy import problems
from charts.rendering import CHARTS, NAMESPACE, RELEASE, Helm, Scenario, charts, scenarios

RELEASES = ("shop", "sluice", "a-name-of-so-many-letters-as-helm-takes-for-a-release")
"""A plain name, one that holds a chart's name, and the longest."""

EVERYTHING = Scenario("sluice", CHARTS / "sluice" / "ci" / "everything-values.yaml")


@pytest.mark.parametrize("scenario", scenarios(), ids=str)
def test_helm_renders_every_file_of_values(helm: Helm, scenario: Scenario) -> None:
    assert helm.render(scenario).all


@pytest.mark.parametrize("scenario", scenarios(), ids=str)
def test_helm_finds_no_fault_with_it(helm: Helm, scenario: Scenario) -> None:
    assert "0 chart(s) failed" in helm.lint(scenario)


@pytest.mark.parametrize("chart", charts())
def test_every_chart_brings_files_of_values(chart: str) -> None:
    assert list((CHARTS / chart / "ci").glob("*-values.yaml"))


def test_rendering_twice_gives_the_same(helm: Helm) -> None:
    """What is made up at random never settles under GitOps."""
    again = helm.run("template", RELEASE, *helm.arguments(EVERYTHING), "--namespace", NAMESPACE)
    assert again == helm.template(EVERYTHING)


@pytest.mark.parametrize("release", RELEASES)
def test_names_stay_within_what_kubernetes_takes(helm: Helm, release: str) -> None:
    objects = helm.render(EVERYTHING, release=release)
    long = [one["metadata"]["name"] for one in objects.all if len(one["metadata"]["name"]) > 63]
    values = [
        (one["metadata"]["name"], value)
        for one in objects.all
        for value in one["metadata"]["labels"].values()
        if len(value) > 63
    ]
    assert not [name for name in long if not name.endswith(".sluice.dev")]
    assert not values


def test_two_releases_in_a_namespace_choose_no_pods_of_each_other(helm: Helm) -> None:
    """A second model beside a platform: its Services, budgets and Deployments leave the first one's alone."""
    first = helm.render(Scenario("sluice", CHARTS / "sluice" / "ci" / "default-values.yaml"))
    second = helm.render(Scenario("sluice", CHARTS / "sluice" / "ci" / "model-values.yaml"), release="socks")
    both = first._replace(all=first.all + second.all)
    assert problems(both) == []


def test_a_release_called_as_a_chart_does_not_say_it_twice(helm: Helm) -> None:
    scenario = Scenario("operator", CHARTS / "operator" / "ci" / "default-values.yaml")
    names = {one["metadata"]["name"] for one in helm.render(scenario, release="operator").of("Deployment")}
    assert names == {"operator"}
