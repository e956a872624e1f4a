"""Every file of values that a chart brings renders, and passes ``helm lint --strict``."""

import pytest

from charts.policy import problems
from charts.rendering import CHARTS, NAMESPACE, RELEASE, Helm, Scenario, charts, scenarios

RELEASES = ("shop", "sluice", "a-name-of-so-many-letters-as-helm-takes-for-a-release")
"""A plain name, one that holds a chart's name, and the longest."""

EVERYTHING = Scenario("sluice", CHARTS / "sluice" / "ci" / "everything-values.yaml")
DEFAULT = Scenario("sluice", CHARTS / "sluice" / "ci" / "default-values.yaml")


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
    first = helm.render(DEFAULT)
    second = helm.render(Scenario("sluice", CHARTS / "sluice" / "ci" / "model-values.yaml"), release="socks")
    both = first._replace(all=first.all + second.all)
    assert problems(both) == []


def test_names_that_look_like_numbers_or_truths_stay_words(helm: Helm) -> None:
    given = ("--set-string", "global.model.name=true")
    objects = helm.render(DEFAULT, *given, release="123", namespace="456")
    for one in objects.all:
        labels = one["metadata"]["labels"]
        told = [one["metadata"]["name"], one["metadata"].get("namespace", ""), *labels, *labels.values()]
        assert [word for word in told if not isinstance(word, str)] == [], one
    for owner in objects.of("Deployment", "StatefulSet"):
        selected = owner["spec"]["selector"]["matchLabels"].values()
        assert [word for word in selected if not isinstance(word, str)] == []
    assert {one["subjects"][0]["namespace"] for one in objects.of("RoleBinding")} == {"456"}


def test_pods_of_the_api_are_counted_by_an_autoscaler_though_autoscaling_is_off(helm: Helm) -> None:
    """Helm would take ``replicas`` away when it is switched on, and leave one pod until the autoscaler counts."""
    platform = Scenario("sluice", CHARTS / "sluice" / "ci" / "platform-values.yaml")
    objects = helm.render(platform)
    (scaler,) = objects.of("HorizontalPodAutoscaler")
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (3, 3)
    (api,) = [one for one in objects.of("Deployment") if one["metadata"]["name"].endswith("-api")]
    assert "replicas" not in api["spec"]


def test_an_ingress_shows_the_api_and_no_metrics(helm: Helm) -> None:
    objects = helm.render(Scenario("sluice", CHARTS / "sluice" / "ci" / "openshift-values.yaml"))
    (ingress,) = objects.of("Ingress")
    paths = [path["path"] for path in ingress["spec"]["rules"][0]["http"]["paths"]]
    assert paths == ["/v1", "/api", "/similar-users", "/openapi.json"]


@pytest.mark.parametrize(
    ("endpoint", "ports"),
    [
        ("", {443}),
        ("http://minio", {443, 80}),
        ("https://s3.example.com/", {443}),
        ("http://minio:9000", {443, 9000}),
    ],
)
def test_the_port_of_an_s3_server_is_that_of_its_address(helm: Helm, endpoint: str, ports: set[int]) -> None:
    given = ("--set", "global.store.s3.url=s3://models", "--set", f"global.store.s3.endpoint={endpoint}")
    policies = helm.render(DEFAULT, *given).of("NetworkPolicy")
    (trainer,) = [one for one in policies if one["metadata"]["name"] == "home-trainer"]
    opened = [{port["port"] for port in rule["ports"]} for rule in trainer["spec"]["egress"]]
    assert ports in opened


def test_a_release_called_as_a_chart_does_not_say_it_twice(helm: Helm) -> None:
    scenario = Scenario("operator", CHARTS / "operator" / "ci" / "default-values.yaml")
    names = {one["metadata"]["name"] for one in helm.render(scenario, release="operator").of("Deployment")}
    assert names == {"operator"}
