"""Connection strings and properties: read anew at every look, told without what they hold."""

import pytest

from sluice.credentials import credential, properties
from sluice.errors import InvalidSetting

SECRET = "p4ss-w0rd"


def test_a_file_is_read_at_every_look(tmp_path):
    file = tmp_path / "url"
    look = credential("", str(file), "SLUICE_MONGO_URL")
    for url in ("mongodb://one", "mongodb://zwei-ü"):
        file.write_text(f"{url}\n", encoding="utf-8")
        assert look() == url


def test_what_is_given_is_what_is_looked_up():
    assert credential("redis://h", "", "SLUICE_REDIS_URL")() == "redis://h"
    assert credential("", "", "SLUICE_REDIS_URL") is None
    with pytest.raises(InvalidSetting, match="SLUICE_REDIS_URL and SLUICE_REDIS_URL_FILE are both set"):
        credential("redis://h", "/file", "SLUICE_REDIS_URL")


def test_a_file_that_is_not_there_is_told_by_its_setting(tmp_path):
    look = credential("", str(tmp_path / "none"), "SLUICE_MONGO_URL")
    with pytest.raises(InvalidSetting, match="SLUICE_MONGO_URL_FILE cannot be read: no such file"):
        look()


@pytest.mark.parametrize("read", [lambda file: credential("", file, "SLUICE_MONGO_URL")(), properties])
def test_a_file_that_is_no_text_is_told_without_what_it_holds(tmp_path, read):
    file = tmp_path / "url"
    file.write_bytes(f"mongodb://u:{SECRET}".encode() + b"\xff@h")
    with pytest.raises(InvalidSetting, match="_FILE is not UTF-8 text") as refused:
        read(str(file))
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_properties_are_lines_of_names_and_values(tmp_path):
    file = tmp_path / "properties"
    file.write_text("# a comment\n\nsasl.username = shop\nsasl.password=a=b\n")
    assert properties(str(file)) == {"sasl.username": "shop", "sasl.password": "a=b"}
    assert properties("") == {}
    file.write_text(f"ok=1\n{SECRET}\n")
    with pytest.raises(InvalidSetting, match="line 2 is not name=value") as refused:
        properties(str(file))
    assert SECRET not in str(refused.value)
