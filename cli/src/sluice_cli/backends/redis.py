"""Debian's Redis as a process of its own."""

from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sluice_cli.backends import ports, tls, tools
from sluice_cli.backends.server import Server


class Redis(Server):
    """One server over a folder; it keeps what it acknowledged unless ``append_only`` is off.

    ``secure`` adds a listener with TLS (:attr:`secure_url`, :attr:`ca_file`); ``password`` is asked for from
    the start, :meth:`set_password` changes it.
    """

    name = "redis"

    def __init__(
        self,
        folder: Path,
        *,
        host: str = ports.HOST,
        secure: bool = False,
        password: str | None = None,
        append_only: bool = True,
    ) -> None:
        super().__init__(folder, host=host)
        self._secure, self._password, self._append_only = secure, password, append_only
        self.port_names = ("main", "secure") if secure else ("main",)

    @property
    def url(self) -> str:
        """Its address, never with a password; known from the first start on."""
        return f"redis://{self.address}/0"

    @property
    def secure_url(self) -> str:
        """Its address with TLS, never with a password."""
        return f"rediss://{self.address_of('secure')}/0"

    @property
    def ca_file(self) -> Path:
        """PEM file of the authority that signed its certificate."""
        return self.folder / "tls" / "ca.pem"

    def set_password(self, password: str | None) -> None:
        """Ask newcomers for another password, or for none; connections there are stay."""
        with self._client() as client:
            client.config_set("requirepass", password or "")
        self._password = password

    def fetch(self) -> Path:
        """Return the program, installed if it is missing and may be."""
        return Path(tools.redis_server())

    def command(self) -> list[str]:
        """Write its settings and return what runs it."""
        if self._secure:
            tls.make(self.folder / "tls", self.host)
        file = self.folder / "redis.conf"
        file.touch(mode=0o600)
        file.write_text("\n".join(self._settings()) + "\n")
        return [str(self.fetch()), str(file)]

    def answers(self) -> bool:
        """Return whether a ping is answered; it listens before its data are loaded."""
        if not ports.listens(self._ports["main"], self.host):
            return False
        with self._client() as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def _client(self) -> redis.Redis:
        once = Retry(NoBackoff(), 0)
        port = self._ports["main"]
        return redis.Redis(self.host, port, password=self._password, socket_timeout=2.0, retry=once)

    def _settings(self) -> list[str]:
        settings = [
            f"bind {self.host}",
            f"port {self._ports['main']}",
            f"dir {_quoted(str(self.folder))}",
            'save ""',
            f"appendonly {'yes' if self._append_only else 'no'}",
        ]
        if self.host != ports.HOST:
            settings.append("protected-mode no")  # else only clients of a loopback address are let in
        if self._password:
            settings.append(f"requirepass {_quoted(self._password)}")
        if self._secure:
            pair, authority = _quoted(str(self.folder / "tls" / "server.pem")), _quoted(str(self.ca_file))
            settings += [f"tls-port {self._ports['secure']}", "tls-auth-clients no"]
            settings += [f"tls-cert-file {pair}", f"tls-key-file {pair}", f"tls-ca-cert-file {authority}"]
        return settings


def _quoted(value: str) -> str:
    """Return it as one argument of Redis' configuration file."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
