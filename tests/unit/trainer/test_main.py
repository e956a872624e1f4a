"""What a trainer does before it begins."""

import re

import prometheus_client
import pytest

from sluice.errors import InvalidSetting
from sluice.following import NO_MODEL
from sluice_trainer.__main__ import locked
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
