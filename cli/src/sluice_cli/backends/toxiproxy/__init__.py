"""Toxiproxy: a TCP proxy that cuts, delays and swallows on request."""

from pathlib import Path
from typing import Any, Final

import urllib3

from sluice_cli.backends import cache, ports, tools
from sluice_cli.backends.server import Server

_HERE: Final = Path(__file__).parent
VERSION: Final = "2.12.0"
_HTTP: Final = urllib3.PoolManager(timeout=urllib3.Timeout(10.0), retries=False)


class Proxy:
    """One proxied address; what is done to it holds until :meth:`reset`."""

    def __init__(self, api: "Toxiproxy", name: str, address: str) -> None:
        self.name, self.address = name, address
        self._api = api

    def down(self) -> None:
        """Cut all connections and refuse new ones."""
        self._api.ask("POST", f"/proxies/{self.name}", {"enabled": False})

    def up(self) -> None:
        """Accept connections again, at the same address; toxics stay."""
        self._api.ask("POST", f"/proxies/{self.name}", {"enabled": True})

    def latency(self, ms: int) -> None:
        """Delay the server's answers by ``ms``."""
        self._toxic("latency", {"latency": ms})

    def timeout(self, ms: int) -> None:
        """Let none of the server's answers through; close after ``ms``, or never if 0."""
        self._toxic("timeout", {"timeout": ms})

    def reset(self) -> None:
        """Undo everything: up, and no delays."""
        for toxic in self._api.ask("GET", f"/proxies/{self.name}/toxics"):
            self._api.ask("DELETE", f"/proxies/{self.name}/toxics/{toxic['name']}")
        self.up()

    def _toxic(self, kind: str, attributes: dict[str, int]) -> None:
        """Replace the toxic of this kind."""
        toxics = f"/proxies/{self.name}/toxics"
        if any(each["name"] == kind for each in self._api.ask("GET", toxics)):
            self._api.ask("DELETE", f"{toxics}/{kind}")
        self._api.ask("POST", toxics, {"name": kind, "type": kind, "attributes": attributes})


class Toxiproxy(Server):
    """One proxy server; it forgets its proxies when it ends."""

    name = "toxiproxy"

    def proxy(self, name: str, upstream: str) -> Proxy:
        """Return a proxy of ``upstream`` (``host:port``), made if there is none of that name."""
        there = self.ask("GET", "/proxies").get(name)
        if there is None or there["upstream"] != upstream:
            if there is not None:
                self.ask("DELETE", f"/proxies/{name}")
            listen = f"{self.host}:{ports.free(1, self.host)[0]}"
            there = self.ask("POST", "/proxies", {"name": name, "listen": listen, "upstream": upstream})
        return Proxy(self, name, there["listen"])

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the answer of its HTTP API; raises :class:`BackendUnavailable` with what it refuses."""
        answer = _HTTP.request(method, f"http://{self.address}{path}", json=body)
        if answer.status >= 400:
            raise tools.BackendUnavailable(f"toxiproxy refused {method} {path}: {answer.data.decode()}")
        return answer.json() if answer.data else None

    def fetch(self) -> Path:
        """Return the program, built if it was not."""
        sources = [_HERE / name for name in ("go.mod", "go.sum", "main.go")]
        return cache.once(f"toxiproxy-{VERSION}", sources, _build) / "toxiproxy"

    def command(self) -> list[str]:
        """Return what runs it."""
        return [str(self.fetch()), self.address]

    def answers(self) -> bool:
        """Return whether its API listens."""
        return ports.listens(self._ports["main"], self.host)


def _build(folder: Path) -> None:
    tools.run(
        "go", "build", "-trimpath", "-o", f"{folder}/toxiproxy", ".", folder=_HERE, GOFLAGS="-mod=readonly"
    )
