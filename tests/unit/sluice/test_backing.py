"""What a process stands on: settings that can never work are told when it starts."""

import pytest

from sluice.backing import Backing
from sluice.errors import InvalidSetting
from sluice.settings import Settings

SECRET = "p4ss-w0rd"


@pytest.mark.parametrize("port", ["profiles", "catalog"])
@pytest.mark.parametrize(
    ("mongo_url", "name", "variable"),
    [
        (f"mongodb://u:{SECRET}@h:99999", "sluice", "SLUICE_MONGO_URL"),
        (f"http://{SECRET}", "sluice", "SLUICE_MONGO_URL"),
        ("mongodb://h", "a.b", "SLUICE_MONGO_DATABASE"),
    ],
)
def test_an_unusable_mongodb_is_refused_at_the_start(tmp_path, port, mongo_url, name, variable):
    settings = Settings(home=str(tmp_path), mongo_url=mongo_url, mongo_database=name, redis_url="redis://h")
    with pytest.raises(InvalidSetting, match=variable) as refused:
        getattr(Backing(settings), port)("shop")
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_secret_that_is_not_mounted_is_refused_at_the_start(tmp_path):
    settings = Settings(home=str(tmp_path), mongo_url_file=str(tmp_path / "none"), redis_url="redis://h")
    with pytest.raises(InvalidSetting, match="SLUICE_MONGO_URL_FILE cannot be read"):
        Backing(settings).catalog("default.home")


def test_nobody_is_asked_before_a_port_is_used(tmp_path):
    settings = Settings(home=str(tmp_path), mongo_url="mongodb://nobody.invalid", redis_url="redis://h")
    backing = Backing(settings)
    backing.profiles("shop"), backing.catalog("default.home"), backing.routing("default.home")
    backing.close()
