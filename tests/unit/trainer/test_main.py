"""What a trainer does before it begins."""

import re

import msgspec
import prometheus_client
import pytest

from sluice.errors import InvalidSetting
from sluice.following import NO_MODEL
from sluice.model import RecommenderModel
from sluice_trainer.__main__ import _relevant, locked
from sluice_trainer.status import Page


def test_a_second_trainer_in_one_folder_of_one_machine_is_told_what_is_in_its_way(tmp_path):
    held = locked(tmp_path, "default.home")
    sentence = (
        rf"another trainer of default\.home runs on this machine, in {re.escape(str(tmp_path))}; stop it"
    )
    with pytest.raises(InvalidSetting, match=sentence):
        locked(tmp_path, "default.home")
    held.close()
    locked(tmp_path, "default.home").close()


def test_before_there_is_a_trainer_its_page_says_what_it_waits_for():
    page = Page()
    assert page() == {"model": None, "waiting": NO_MODEL}
    assert "sluice_info" in prometheus_client.generate_latest(page.registry).decode()
    page.show(lambda: {"model": "default.home"})
    assert page()["model"] == "default.home"


def of(**spec):
    spec = {"algorithm": {"type": "Popular"}, "source": {"name": "shop"}, **spec}
    document = {"apiVersion": "v", "kind": "k", "metadata": {"name": "home"}, "spec": spec}
    return _relevant(msgspec.convert(document, RecommenderModel))


def gated(**gate):
    return {"gates": [{"name": "quality", "source": "Prequential", "metric": "recall@50", **gate}]}


@pytest.mark.parametrize(
    "spec",
    [
        {"algorithm": {"type": "CoVisitation"}},
        {"source": {"name": "site"}},
        {"source": {"name": "shop", "eventWeights": {"buy": "2"}}},
        {"snapshots": {"interval": "1h"}},
        {"snapshots": {"events": 7}},
        {"rollout": gated()},
    ],
)
def test_a_trainer_begins_anew_for_what_it_learns_cuts_or_measures(spec):
    assert of(**spec) != of()


def test_a_trainer_goes_on_for_what_only_others_use():
    assert (
        of(snapshots={"pin": "popular-1"}, rollout={"paused": True}, serving={"excludeSeen": False}) == of()
    )
    assert of(rollout=gated(margin="0.1")) == of(rollout=gated(margin="0.2", onTimeout="Rollback"))
