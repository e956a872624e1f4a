"""The commands of both services with settings they cannot use: one sentence, exit code 2."""

import socket
import sys

import pytest

from sluice import logs
from sluice_faiss import __main__ as faiss
from sluice_recommender import __main__ as recommender

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

    return _run


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


def test_pods_need_http_urls(run):
    assert "SLUICE_FAISS_STABLE_URLS" in run(recommender.main, "api", faiss_stable_urls="ftp://pod")


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
