"""Settings from the environment."""

from pathlib import Path
from typing import Annotated

import pytest
from msgspec import Meta

from sluice import settings
from sluice.errors import InvalidSetting


class Some(settings.Settings, frozen=True, kw_only=True):
    """Settings as a service declares them."""

    status_port: settings.Port = 8085
    seconds: Annotated[float, Meta(gt=0)] = 1.5
    verbose: bool = False


def test_without_variables_the_defaults_hold():
    assert settings.read(Some, {}) == Some()
    assert settings.read(Some, {"PATH": "/bin", "STATUS_PORT": "1", "SLUICE_OTHER": "x"}) == Some()


def test_variables_are_read_by_the_fields_name():
    environment = {
        "SLUICE_HOME": "data dir",
        "SLUICE_MODEL_FILE": "m.yaml",
        "SLUICE_LOG_LEVEL": "debug",
        "SLUICE_STATUS_PORT": "0",
        "SLUICE_SECONDS": "0.25",
        "SLUICE_VERBOSE": "true",
    }
    made = settings.read(Some, environment)
    assert made == Some(
        home="data dir", model_file="m.yaml", log_level="debug", status_port=0, seconds=0.25, verbose=True
    )
    assert (made.home_path, made.model_path) == (Path("data dir"), Path("m.yaml"))


BAD = [
    ("SLUICE_STATUS_PORT", "http"),
    ("SLUICE_STATUS_PORT", "65536"),
    ("SLUICE_STATUS_PORT", "-1"),
    ("SLUICE_STATUS_PORT", "tcp://10.0.0.1:80"),
    ("SLUICE_STATUS_PORT", ""),
    ("SLUICE_SECONDS", "0"),
    ("SLUICE_SECONDS", "nan"),
    ("SLUICE_SECONDS", "ten"),
    ("SLUICE_LOG_LEVEL", "loud"),
    ("SLUICE_LOG_LEVEL", "INFO"),
    ("SLUICE_VERBOSE", "maybe"),
]


@pytest.mark.parametrize(("variable", "value"), BAD)
def test_an_unusable_value_is_refused_with_variable_value_and_fix(variable, value):
    with pytest.raises(InvalidSetting) as refused:
        settings.read(Some, {variable: value, "SLUICE_HOME": "fine"})
    assert str(refused.value).startswith(f"{variable} is {value!r}")
    assert "correct it" in str(refused.value)


def test_a_missing_model_file_is_named():
    with pytest.raises(InvalidSetting, match="SLUICE_MODEL_FILE is not set"):
        _ = Some().model_path


@pytest.mark.parametrize("given", [Some(), Some(home="x y", seconds=1e-3, status_port=7, verbose=True)])
def test_settings_handed_to_a_child_are_read_back_the_same(given):
    assert settings.read(Some, settings.as_environment(given)) == given
