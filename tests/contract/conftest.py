"""The adapters that every contract suite runs on.

One table for each port: name of the adapter → factory. A factory opens the adapter at a place (an own, empty
folder; an adapter on a server takes its name as namespace); the same place opened again, by another process
too, holds the same data. A new adapter joins by one line in each table.
"""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sluice.embedded.log import EmbeddedLog
from sluice.embedded.models import EmbeddedCatalog, EmbeddedEvidence, EmbeddedRouting, model_database
from sluice.embedded.sources import EmbeddedItems, EmbeddedPopularity, EmbeddedProfiles, source_database

Factory = Callable[[Path], Any]

EVENT_LOGS: dict[str, Factory] = {"embedded": lambda place: EmbeddedLog(place / "log.db")}
PROFILES: dict[str, Factory] = {
    "embedded": lambda place: EmbeddedProfiles(source_database(place / "source.db"))
}
ITEMS: dict[str, Factory] = {"embedded": lambda place: EmbeddedItems(source_database(place / "source.db"))}
POPULARITY: dict[str, Factory] = {
    "embedded": lambda place: EmbeddedPopularity(source_database(place / "source.db"))
}
CATALOGS: dict[str, Factory] = {"embedded": lambda place: EmbeddedCatalog(model_database(place / "model.db"))}
EVIDENCE: dict[str, Factory] = {
    "embedded": lambda place: EmbeddedEvidence(model_database(place / "model.db"))
}
ROUTING: dict[str, Factory] = {"embedded": lambda place: EmbeddedRouting(model_database(place / "model.db"))}


class Port:
    """One adapter of a port: ``open()`` opens it at this test's place, ``elsewhere()`` at a new one."""

    def __init__(self, name: str, factory: Factory, root: Path) -> None:
        self.name, self._factory, self._root = name, factory, root
        self._places = 0
        self.place = self._new_place()

    def _new_place(self) -> Path:
        self._places += 1
        place = self._root / f"place-{self._places}"
        place.mkdir()
        return place

    def open(self) -> Any:
        return self._factory(self.place)

    def elsewhere(self) -> Any:
        return self._factory(self._new_place())


def _port(table: dict[str, Factory]) -> Any:
    @pytest.fixture(params=sorted(table))
    def port(request: pytest.FixtureRequest, tmp_path: Path) -> Port:
        return Port(request.param, table[request.param], tmp_path)

    return port


event_log_port = _port(EVENT_LOGS)
profiles_port = _port(PROFILES)
items_port = _port(ITEMS)
popularity_port = _port(POPULARITY)
catalog_port = _port(CATALOGS)
evidence_port = _port(EVIDENCE)
routing_port = _port(ROUTING)


@pytest.fixture
def event_log(event_log_port: Port) -> Any:
    return event_log_port.open()


@pytest.fixture
def profiles(profiles_port: Port) -> Any:
    return profiles_port.open()


@pytest.fixture
def items(items_port: Port) -> Any:
    return items_port.open()


@pytest.fixture
def popularity(popularity_port: Port) -> Any:
    return popularity_port.open()


@pytest.fixture
def catalog(catalog_port: Port) -> Any:
    return catalog_port.open()


@pytest.fixture
def evidence(evidence_port: Port) -> Any:
    return evidence_port.open()


@pytest.fixture
def routing_store(routing_port: Port) -> Any:
    return routing_port.open()


@pytest.fixture
def at_once() -> Iterator[Callable[..., list[Any]]]:
    """Run functions in a thread each, all released together; returns what each returned or raised."""

    def run(*works: Callable[[], Any]) -> list[Any]:
        gate = threading.Barrier(len(works))
        results: list[Any] = [None] * len(works)

        def one(index: int, work: Callable[[], Any]) -> None:
            gate.wait()
            try:
                results[index] = work()
            except Exception as error:
                results[index] = error

        threads = [threading.Thread(target=one, args=pair) for pair in enumerate(works)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        return results

    return run
