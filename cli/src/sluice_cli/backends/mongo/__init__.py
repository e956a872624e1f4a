"""A server of MongoDB's protocol: mongo-java-server over an H2 file.

Durable once it has acknowledged. It has no change streams, transactions or logins; the same tests run
against a real MongoDB where ``SLUICE_TEST_MONGO_URL`` names one.
"""

from pathlib import Path

from sluice_cli.backends import cache, maven, ports, tools
from sluice_cli.backends.server import Server

_HERE = Path(__file__).parent
VERSION = "1.47.0"


class Mongo(Server):
    """One server; ``secure`` is refused, it knows no logins."""

    name = "mongo"

    def __init__(self, folder: Path, *, host: str = ports.HOST, secure: bool = False) -> None:
        super().__init__(folder, host=host)
        if secure:
            raise tools.BackendUnavailable(
                "this MongoDB has no logins; use SLUICE_TEST_MONGO_URL for a real one"
            )

    @property
    def url(self) -> str:
        """Its address; known from the first start on."""
        return f"mongodb://{self.address}"

    def fetch(self) -> Path:
        """Return the folder of jars and of the compiled main class."""
        sources = [_HERE / "pom.xml", _HERE / "Server.java"]
        return cache.once(f"mongo-{VERSION}", sources, _make)

    def command(self) -> list[str]:
        """Return what runs it; the data are one file."""
        made, data, port = self.fetch(), self.folder / "mongo.h2", str(self._ports["main"])
        return maven.java("256m", [f"{made}/jars/*", f"{made}/classes"], "Server", str(data), self.host, port)

    def answers(self) -> bool:
        """Return whether it listens, which it does when its file is open."""
        return ports.listens(self._ports["main"], self.host)


def _make(folder: Path) -> None:
    tools.find("javac")
    maven.copy_jars(_HERE / "pom.xml", folder / "jars")
    tools.run(
        *("javac", "-cp", f"{folder}/jars/*", "-d", f"{folder}/classes", str(_HERE / "Server.java")),
    )
