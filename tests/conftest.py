"""What every test shares: deterministic property tests, and real backends, started by the first test that asks.

``SLUICE_TEST_KAFKA``, ``SLUICE_TEST_MONGO_URL`` and ``SLUICE_TEST_REDIS_URL`` name others to use instead.
Tests share them, so each uses topic, database and key names of its own. A backend that cannot run here skips
its tests; with ``SLUICE_REQUIRE_ALL=1`` they fail.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

settings.register_profile(
    "sluice", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("sluice")

OWNER = "SLUICE_TEST_OWNER"
"""Process id of the session: with xdist its workers come and go, the controller stays."""


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        os.environ[OWNER] = str(os.getpid())


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Give logging back as a test found it: which levels it lets through is the whole process's."""
    found = structlog.get_config()
    yield
    structlog.configure(**found)


@pytest.fixture(scope="session")
def backends_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The session's folder of backends, one for all of its workers."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if hasattr(request.config, "workerinput") else base) / "backends"


@pytest.fixture(scope="session")
def kafka(backends_folder: Path) -> str:
    """``host:port`` of a Kafka broker."""
    return _backend("kafka", "SLUICE_TEST_KAFKA", backends_folder)


@pytest.fixture(scope="session")
def mongo_url(backends_folder: Path) -> str:
    """URL of a MongoDB, without a database."""
    return _backend("mongo", "SLUICE_TEST_MONGO_URL", backends_folder)


@pytest.fixture(scope="session")
def redis_url(backends_folder: Path) -> str:
    """URL of a Redis."""
    return _backend("redis", "SLUICE_TEST_REDIS_URL", backends_folder)


@pytest.fixture(scope="session")
def or_skip() -> Callable[[], AbstractContextManager[None]]:
    """Return what to start further backends in: ``with or_skip(): Kafka(folder, secure=True).start()``."""
    return _or_skip


def _backend(kind: str, variable: str, folder: Path) -> str:
    if there := os.environ.get(variable):
        return there
    from sluice_cli.backends import shared

    with _or_skip():
        return shared.share(kind, folder, int(os.environ[OWNER]))


@contextmanager
def _or_skip() -> Iterator[None]:
    from sluice_cli.backends import BackendUnavailable

    try:
        yield
    except BackendUnavailable as error:
        if os.environ.get("SLUICE_REQUIRE_ALL"):
            pytest.fail(str(error))
        pytest.skip(str(error))
