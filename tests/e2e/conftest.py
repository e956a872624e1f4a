"""A real node with a release of the umbrella chart, for all tests of a session.

The node stays up if it was up; else it ends with the session. ``failures/`` beside its state holds, for each test that
failed, the logs of all pods, events and objects; ``figures.json`` there what was measured.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster import layout, lifecycle
from e2e import evidence, ground, journey
from e2e import release as releases
from e2e.ground import Ground
from e2e.load import UnderLoad
from e2e.release import Release
from e2e.shop import Shop
from sluice_cli.backends import cache

ORDER = ("test_install", "test_upgrade", "test_pods", "test_rollback", "test_uninstall")
GROUND = pytest.StashKey[Ground]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the installation, end with its removal."""
    ours = [item for item in items if item.path.parent == Path(__file__).parent]
    ours.sort(key=lambda item: ORDER.index(item.path.stem))
    places = [place for place, item in enumerate(items) if item in ours]
    for place, item in zip(places, ours, strict=True):
        items[place] = item


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Write down the state of the cluster in which a test of ours has failed."""
    report = yield
    place = item.config.stash.get(GROUND, None)
    if place is not None and report.failed:
        folder = evidence.collect(
            place.kubectl, layout.root() / "failures", item.nodeid, str(report.longrepr)
        )
        report.sections.append(("cluster", f"logs, events and objects are in {folder}"))
    return report


@pytest.fixture(scope="session")
def figures() -> Iterator[dict[str, Any]]:
    """What was measured; written at the end of the session."""
    found: dict[str, Any] = {}
    began = time.monotonic()
    yield found
    found["session_s"] = round(time.monotonic() - began, 1)
    (layout.root() / "figures.json").write_text(json.dumps(found, indent=2))


@pytest.fixture(scope="session")
def node(figures: dict[str, Any]) -> Iterator[None]:
    """The node, with the images of this tree in both versions."""
    if reason := ground.why_not():
        pytest.fail(reason) if os.environ.get("SLUICE_REQUIRE_ALL") else pytest.skip(reason)
    with cache.locked("e2e.lock"):  # sessions share the node and the namespace: another one waits
        was_up = None not in lifecycle.status().values()
        with timed(figures, "node_up_s"):
            ground.cluster("up")
        try:
            with timed(figures, "images_s"):
                ground.import_images()
            yield
        finally:
            if not was_up:
                ground.cluster("down")


@pytest.fixture(scope="session")
def place(node: None, request: pytest.FixtureRequest) -> Iterator[Ground]:
    """A namespace with Secrets and volumes, and servers beside the node; nothing is installed in it."""
    with ground.prepared() as made:
        request.config.stash[GROUND] = made
        yield made


@pytest.fixture(scope="session")
def installed(place: Ground, figures: dict[str, Any]) -> Release:
    """The umbrella chart, installed before any model exists."""
    release = Release(place.kubectl, place.helm)
    with timed(figures, "install_s"):
        place.helm.install(releases.values(place.backing, ground.HOST))
    return release


@pytest.fixture(scope="session")
def shop(place: Ground) -> Shop:
    """A client of the API through the Ingress."""
    return Shop(place.ingress, ground.HOST, place.admin_key)


@pytest.fixture
def serving(installed: Release, shop: Shop) -> Release:
    """The release as it serves a snapshot, everything ready and deployed."""
    journey.serve(installed, shop)
    installed.wait_until_settled()
    return installed


@pytest.fixture
def under_load(serving: Release, shop: Shop, figures: dict[str, Any]) -> UnderLoad:
    """Runs a load while something happens: ``with under_load("upgrade") as load``."""
    return UnderLoad(serving, shop, figures)


@contextmanager
def timed(figures: dict[str, Any], name: str) -> Iterator[None]:
    """Write down the seconds that the block takes."""
    began = time.monotonic()
    yield
    figures[name] = round(time.monotonic() - began, 1)
