"""One Kafka broker, which is its own KRaft controller."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sluice_cli.backends import cache, maven, ports, tls, tools
from sluice_cli.backends.kafka import credentials, settings
from sluice_cli.backends.server import Server

if TYPE_CHECKING:
    from sluice_cli.backends.toxiproxy import Proxy, Toxiproxy

_HERE: Final = Path(__file__).parent
VERSION: Final = "4.1.1"
_CLUSTER: Final = "c2x1aWNlLWJhY2tlbmRzLQ"
"""Of every such cluster: they never meet."""


class Kafka(Server):
    """One broker over a folder.

    ``secure`` adds a listener with TLS and SCRAM-SHA-256 logins (:attr:`secure_bootstrap`, :attr:`ca_file`,
    :meth:`set_password`). ``proxy`` adds one that is reached through a running Toxiproxy
    (:attr:`proxied_bootstrap`, :attr:`proxy`).
    """

    name = "kafka"
    proxy: "Proxy"
    """What stands before the proxied listener."""

    def __init__(
        self,
        folder: Path,
        *,
        host: str = ports.HOST,
        secure: bool = False,
        proxy: "Toxiproxy | None" = None,
    ) -> None:
        super().__init__(folder, host=host)
        self._secure, self._toxiproxy = secure, proxy
        listeners = {"main": True, "controller": True, "secure": secure, "proxied": proxy is not None}
        self.port_names = tuple(name for name, wanted in listeners.items() if wanted)

    @property
    def bootstrap(self) -> str:
        """``host:port`` without login; known from the first start on."""
        return self.address

    @property
    def secure_bootstrap(self) -> str:
        """``host:port`` with TLS and login."""
        return self.address_of("secure")

    @property
    def proxied_bootstrap(self) -> str:
        """``host:port`` through the proxy; the broker tells its clients this address too."""
        return self.proxy.address

    @property
    def ca_file(self) -> Path:
        """PEM file of the authority that signed the broker's certificate."""
        return self.folder / "tls" / "ca.pem"

    def set_password(self, user: str, password: str) -> None:
        """Create a user of the secure listener or change its password; logins in use stay."""
        credentials.set_password(self.bootstrap, user, password)
        credentials.wait_for_login(self.secure_bootstrap, self.ca_file, user, password)

    def fetch(self) -> Path:
        """Return the folder of jars."""
        return cache.once(
            f"kafka-{VERSION}",
            [_HERE / "pom.xml"],
            lambda folder: maven.copy_jars(_HERE / "pom.xml", folder),
        )

    def command(self) -> list[str]:
        """Write the properties, format the folder if it is new, and return what runs the broker."""
        if self._secure:
            tls.make(self.folder / "tls", self.host)
        if self._toxiproxy is not None:
            self.proxy = self._toxiproxy.proxy(f"kafka-{self._ports['proxied']}", self.address_of("proxied"))
        (self.folder / "server.properties").write_text(settings.properties(self._listeners(), self.folder))
        if not (self.folder / "data" / "meta.properties").exists():
            self._format()
        return self._java("512m", "kafka.Kafka", "server.properties")

    def answers(self) -> bool:
        """Return whether a client can list its topics."""
        return ports.listens(self._ports["main"], self.host) and credentials.lists_topics(self.bootstrap)

    def _listeners(self) -> dict[str, settings.Listener]:
        found = {name: self.address_of(name) for name in self.port_names}
        told = dict(found)
        if self._toxiproxy is not None:
            told["proxied"] = self.proxy.address
        return {name: settings.Listener(found[name], told[name]) for name in found}

    def _java(self, heap: str, *arguments: str) -> list[str]:
        log_settings = f"-Dlog4j2.configurationFile={_HERE / 'log4j2.properties'}"
        return maven.java(heap, [f"{self.fetch()}/*"], log_settings, *arguments)

    def _format(self) -> None:
        arguments = ("kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", "server.properties")
        tools.run(*self._java("128m", *arguments), folder=self.folder)
