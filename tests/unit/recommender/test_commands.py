"""The commands of both services with settings they cannot use: one sentence, exit code 2."""

import signal
import socket
import sys

import msgspec
import pytest

from sluice import logs
from sluice.errors import InvalidSetting
from sluice.model import RecommenderModel
from sluice_faiss import __main__ as faiss
from sluice_recommender import __main__ as recommender
from sluice_recommender.api import command
from sluice_recommender.profiles import worker
from sluice_recommender.settings import ApiSettings, ProfilesSettings, experiment_of, pod_urls

MODEL = """
apiVersion: sluice.dev/v1alpha1
kind: RecommenderModel
metadata: {name: %s}
spec: {algorithm: {type: GMF}, source: {name: %s}}
"""


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run a command with these settings and return what it says."""
    for name, source in (("home", "shop"), ("site", "site")):
        (tmp_path / f"{name}.yaml").write_text(MODEL % (name, source))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logs, "configure", lambda *_: None)

    def _run(main, *words, **settings):
        monkeypatch.setattr(sys, "argv", ["command", *words])
        for name, value in {"home": str(tmp_path / "state"), "model_file": "home.yaml", **settings}.items():
            monkeypatch.setenv(f"SLUICE_{name.upper()}", value)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        [sentence] = capsys.readouterr().err.splitlines()
        return sentence

    heeded = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield _run
    for number, handler in heeded.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, "SLUICE_WANTED_FILE"),
        ({"model_file": "", "wanted_file": "w"}, "SLUICE_MODEL"),
        ({"model_file": "absent.yaml", "wanted_file": "w"}, "absent.yaml"),
        ({"workers": "0", "wanted_file": "w"}, "SLUICE_WORKERS"),
        ({"listen_port": "70000", "wanted_file": "w"}, "SLUICE_LISTEN_PORT"),
    ],
)
def test_faiss_names_the_setting(run, settings, named):
    assert named in run(faiss.main, **settings)


@pytest.mark.parametrize("command", ["api", "profiles"])
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"model_file": ""}, "SLUICE_MODEL_FILE"),
        ({"model_file": "home.yaml,home.yaml"}, "twice"),
        ({"model_file": "absent.yaml"}, "absent.yaml"),
        ({"model_file": "home.yaml,site.yaml"}, "shop, site"),
        ({"log_level": "loud"}, "SLUICE_LOG_LEVEL"),
    ],
)
def test_the_recommender_names_the_setting(run, command, settings, named):
    assert named in run(recommender.main, command, **settings)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"faiss_stable_urls": "ftp://pod"}, "SLUICE_FAISS_STABLE_URLS"),
        ({"faiss_canary_urls": "default.home=pod"}, "SLUICE_FAISS_CANARY_URLS names 'pod'"),
        ({"faiss_stable_urls": "default.other=http://pod"}, "name each of default.home once"),
        ({"require_keys": "read,root"}, "SLUICE_REQUIRE_KEYS names root"),
        ({"local": "perhaps"}, "SLUICE_LOCAL"),
        ({"keys_file": "home.yaml"}, "home.yaml: it is not JSON"),
        ({"faiss_stable_urls": "dns+http://:8081"}, "dns+http://name:port"),
        ({"faiss_stable_urls": "dns+https://pods:8081"}, "dns+http://name:port"),
        ({"faiss_stable_urls": "http://pods:http"}, "http://host:port"),
        ({"follow_model": "perhaps"}, "SLUICE_FOLLOW_MODEL"),
        ({"follow_model": "true", "model_file": ""}, "SLUICE_MODEL_FILE"),
        ({"follow_model": "true", "model_file": "absent.yaml", "experiment": "als"}, "SLUICE_EXPERIMENT"),
        ({"follow_model": "true", "faiss_stable_urls": "ftp://pod"}, "SLUICE_FAISS_STABLE_URLS"),
    ],
)
def test_the_api_names_its_own_settings(run, settings, named):
    assert named in run(recommender.main, "api", **settings)


MODELS = ["default.home", "default.site"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [[], []]),
        ("http://a, http://b/", [["http://a", "http://b"]] * 2),
        ("http://a/?x=1", [["http://a/?x=1"]] * 2),
        (
            "default.home=http://a,http://b; default.site = http://c ;",
            [["http://a", "http://b"], ["http://c"]],
        ),
        ("default.site=;default.home=http://a", [["http://a"], []]),
    ],
)
def test_every_model_may_have_pods_of_its_own(text, found):
    assert pod_urls(text, "FAISS_STABLE_URLS", MODELS) == dict(zip(MODELS, found, strict=True))


@pytest.mark.parametrize(
    "text", ["default.home=http://a", "default.home=http://a;default.home=http://b", "a=http://a;b=http://b"]
)
def test_a_model_without_pods_or_with_two_lists_is_refused(text):
    with pytest.raises(InvalidSetting, match=r"default\.home, default\.site"):
        pod_urls(text, "FAISS_STABLE_URLS", MODELS)


def test_of_models_that_are_followed_some_may_be_missing():
    text = "default.home=dns+http://home:1;default.site=http://c"
    assert pod_urls(text, "X", ["default.home"], more=True)["default.home"] == ["dns+http://home:1"]
    with pytest.raises(InvalidSetting, match=r"default\.other"):
        pod_urls(text, "X", ["default.other"], more=True)
    with pytest.raises(InvalidSetting, match="once"):
        pod_urls(text + ";default.site=http://d", "X", ["default.home"], more=True)


@pytest.mark.parametrize("kind", [ApiSettings, ProfilesSettings])
def test_an_experiment_waits_for_the_models_that_it_names(kind):
    settings = kind(experiment="als@2026-11-21: home=50, default.site=50", follow_model=True)
    assert experiment_of(settings, []) is None
    assert experiment_of(settings, ["default.home", "default.third"]) is None
    found = experiment_of(settings, MODELS)
    assert [arm.model for arm in found.arms] == MODELS
    with pytest.raises(InvalidSetting, match="names the model"):
        experiment_of(kind(experiment=settings.experiment), ["default.home"])


def test_a_port_in_use_is_named(run):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        sentence = run(recommender.main, "api", listen_port=port)
        assert f"SLUICE_LISTEN_PORT is {port}" in sentence
        assert "another port" in sentence
        assert port in run(faiss.main, listen_port=port, wanted_file="w")


@pytest.mark.parametrize("words", [(), ("serve",), ("api", "now")])
def test_an_unknown_command_is_answered_with_the_known_ones(run, words):
    assert "sluice-recommender profiles" in run(recommender.main, *words)


def spec(**spec):
    spec = {"algorithm": {"type": "GMF"}, "source": {"name": "shop"}, **spec}
    document = {"apiVersion": "v", "kind": "k", "metadata": {"name": "home"}, "spec": spec}
    return msgspec.convert(document, RecommenderModel)


@pytest.mark.parametrize("relevant", [command.relevant, worker._relevant])
def test_a_service_begins_anew_for_what_it_uses_of_a_model_and_nothing_else(relevant):
    gate = {"name": "quality", "source": "Online", "metric": "errorRate", "margin": "0.1"}
    for other in (
        {"rollout": {"paused": True, "gates": [gate]}},
        {"snapshots": {"pin": "gmf-1"}},
        {"algorithm": {"type": "ALS"}},
    ):
        assert relevant(spec(**other)) == relevant(spec())
    for other in ({"name": "site"}, {"name": "shop", "eventWeights": {"buy": "2"}}):
        assert relevant(spec(source=other)) != relevant(spec())


def test_the_api_begins_anew_for_what_its_answers_may_hold():
    assert command.relevant(spec(serving={"excludeSeen": False})) != command.relevant(spec())
