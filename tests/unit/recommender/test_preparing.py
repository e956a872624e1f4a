"""``sluice-recommender prepare``, before anything else runs."""

import sys

import pytest

from sluice.errors import InvalidSetting, StorageUnavailable
from sluice.prepare import Told
from sluice_recommender import __main__ as recommender
from sluice_recommender import preparing
from sluice_recommender.preparing import PrepareSettings

SETTINGS = {"source": "shop", "models": "shop.home, shop.site", "wait_seconds": 30.0}


class Servers:
    """Do not answer so many times; ``asked`` is what they were asked for."""

    def __init__(self, outages):
        self.outages, self.asked = outages, []

    def prepare(self, settings, sources, models, partitions):
        self.asked.append((sources, models, partitions))
        if len(self.asked) <= self.outages:
            raise StorageUnavailable("no broker answers; start Kafka")
        return [Told("topic shop.items: created, 6 partitions"), Told("mind the others", warning=True)]


@pytest.fixture
def servers(monkeypatch):
    def _servers(outages=0):
        made = Servers(outages)
        monkeypatch.setattr(preparing, "prepare_names", made.prepare)
        return made

    return _servers


def test_the_topics_and_indexes_of_the_named_are_made(servers):
    made = servers()
    preparing.run(PrepareSettings(**SETTINGS, partitions=12))
    assert made.asked == [(["shop"], ["shop.home", "shop.site"], 12)]


def test_servers_that_do_not_answer_yet_are_asked_again(servers, monkeypatch):
    made = servers(2)
    assert len(preparing.run(PrepareSettings(**SETTINGS))) == 2
    assert len(made.asked) == 3


def test_the_wait_for_them_ends(servers):
    made = servers(1_000)
    with pytest.raises(StorageUnavailable, match="no broker answers"):
        preparing.run(PrepareSettings(**{**SETTINGS, "wait_seconds": 1.0}))
    assert 1 <= len(made.asked) < 10


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"source": ""}, "SLUICE_SOURCE"),
        ({"models": "home"}, "SLUICE_MODELS"),
        ({"models": ".home"}, "SLUICE_MODELS"),
    ],
)
def test_what_is_missing_is_named(servers, changes, named):
    with pytest.raises(InvalidSetting, match=named):
        preparing.run(PrepareSettings(**{**SETTINGS, **changes}))
    assert servers().asked == []


def command(monkeypatch, **settings):
    monkeypatch.setattr(sys, "argv", ["sluice-recommender", "prepare"])
    monkeypatch.setattr(recommender.logs, "configure", lambda *_: None)
    for name, value in {**SETTINGS, **settings}.items():
        monkeypatch.setenv(f"SLUICE_{name.upper()}", str(value))
    recommender.main()


def test_the_command_prints_a_line_for_each_thing(servers, monkeypatch, capsys):
    servers()
    command(monkeypatch)
    assert capsys.readouterr().out.splitlines() == [
        "topic shop.items: created, 6 partitions",
        "warning: mind the others",
    ]


def test_the_command_fails_with_one_sentence(servers, monkeypatch, capsys):
    servers(1_000)
    with pytest.raises(SystemExit) as ended:
        command(monkeypatch, wait_seconds=0.1)
    assert ended.value.code == 1
    assert capsys.readouterr().err.splitlines() == ["sluice-recommender: no broker answers; start Kafka"]
