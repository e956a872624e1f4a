"""What chart checks share: the real helm over a copy of the charts, a control plane, and schemas of its kinds.

Each is made once per process, when the first test asks for it; without its program the tests skip, or fail with
``SLUICE_REQUIRE_ALL=1``.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from charts.rendering import Helm, tool
from charts.server import Server, schemas, server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="write the snapshots of tests/charts anew")


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory, or_skip) -> Helm:
    with or_skip():
        return Helm(tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def api_server(or_skip) -> Iterator[Server]:
    """A kube-apiserver over etcd, without a node, that knows the kinds our charts use."""
    with or_skip():
        tool("node")
    with server() as started:
        yield started


@pytest.fixture(scope="session")
def kubeconform(or_skip) -> str:
    with or_skip():
        return tool("kubeconform")


@pytest.fixture(scope="session")
def kind_schemas(request: pytest.FixtureRequest) -> Path:
    """Folder of kubeconform's schemas; a control plane is started for it where the cache has none."""
    return schemas(lambda: request.getfixturevalue("api_server"))
