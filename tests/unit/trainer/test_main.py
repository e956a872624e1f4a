"""What a trainer does before it begins."""

import re

import pytest

from sluice.errors import InvalidSetting
from sluice_trainer.__main__ import locked


def test_a_second_trainer_in_one_folder_of_one_machine_is_told_what_is_in_its_way(tmp_path):
    held = locked(tmp_path, "default.home")
    sentence = (
        rf"another trainer of default\.home runs on this machine, in {re.escape(str(tmp_path))}; stop it"
    )
    with pytest.raises(InvalidSetting, match=sentence):
        locked(tmp_path, "default.home")
    held.close()
    locked(tmp_path, "default.home").close()
