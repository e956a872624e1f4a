"""Kept-alive HTTP connections to one pod: a request, its answer, and not a moment past the deadline."""

import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httptools

from sluice.web.request_ids import passed_on

CONNECT_TIMEOUT_S: Final = 0.25
"""The longest a connection takes, over all addresses of the pod."""
RESOLVED_S: Final = 5.0
"""How long addresses are taken for right; looking them up again knows no deadline."""
MAX_ANSWER_BYTES: Final = 4 << 20
_READ_BYTES: Final = 64 << 10


_Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]


class WireFailed(OSError):
    """The pod answered with something else than HTTP, or ended early. ``nothing_came`` = before any byte."""

    def __init__(self, message: str, *, nothing_came: bool = False) -> None:
        super().__init__(message)
        self.nothing_came = nothing_came


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    body: bytes


class Wire:
    """The connections to one pod. At most ``kept`` wait open for the next request."""

    def __init__(self, url: str, kept: int, clock: Callable[[], float] = time.monotonic) -> None:
        parts = urlsplit(url)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname or ""
        self._address = (self._host, parts.port or (443 if self._tls else 80))
        self._head = (
            f"POST {parts.path}/v1/search HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()
        self._idle: deque[socket.socket] = deque()
        self._kept, self._clock = kept, clock
        self._resolved: tuple[float, Sequence[_Address]] | None = None

    def search(self, body: bytes, deadline: float) -> Reply:
        """Post a search. Raises :class:`TimeoutError` at ``deadline``, or another :class:`OSError`."""
        message = b"%b%d\r\n%b\r\n%b" % (self._head, len(body), passed_on(), body)
        while (open_one := self._take()) is not None:
            try:
                return self._exchange(open_one, message, deadline)
            except (ConnectionError, WireFailed) as error:
                if isinstance(error, WireFailed) and not error.nothing_came:
                    raise
                # the pod had closed what was kept: another one may be open, a new one will be
        return self._exchange(self._connect(deadline), message, deadline)

    def close(self) -> None:
        """Close what is kept."""
        while (open_one := self._take()) is not None:
            open_one.close()

    def _take(self) -> socket.socket | None:
        try:
            return self._idle.pop()
        except IndexError:  # asked first, another thread could be quicker
            return None

    def _connect(self, deadline: float) -> socket.socket:
        """Try the addresses one after the other, each with its share of the time that is left."""
        until = min(deadline, self._clock() + CONNECT_TIMEOUT_S)
        addresses = self._addresses()
        failure = OSError(f"{self._host} has no address")
        for untried, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                return self._connect_to(address, self._left(until) / untried)
            except OSError as error:
                failure = error
        self._resolved = None  # the pod may have moved
        raise failure

    def _connect_to(self, address: _Address, timeout_s: float) -> socket.socket:
        family, kind, protocol, _, where = address
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(timeout_s)
            connection.connect(where)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self._tls.wrap_socket(connection, server_hostname=self._host) if self._tls else connection
        except OSError:
            connection.close()
            raise

    def _addresses(self) -> Sequence[_Address]:
        known, now = self._resolved, self._clock()
        if known is None or now >= known[0] + RESOLVED_S:
            known = now, socket.getaddrinfo(*self._address, type=socket.SOCK_STREAM)
            self._resolved = known
        return known[1]

    def _left(self, deadline: float) -> float:
        left = deadline - self._clock()
        if left <= 0:
            raise TimeoutError("no answer in time")
        return left

    def _exchange(self, connection: socket.socket, message: bytes, deadline: float) -> Reply:
        keep = False
        try:
            connection.settimeout(self._left(deadline))
            connection.sendall(message)
            answer = _Answer()
            while not answer.complete:
                connection.settimeout(self._left(deadline))
                answer.feed(connection.recv(_READ_BYTES))
            keep = answer.may_keep and len(self._idle) < self._kept
            return Reply(answer.parser.get_status_code(), b"".join(answer.parts))
        finally:
            if keep:
                self._idle.append(connection)
            else:
                connection.close()


class _Answer:
    """What the parser calls while an answer comes in."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.parts: list[bytes] = []
        self.complete = self.may_keep = False
        self._came = 0

    def feed(self, data: bytes) -> None:
        """Take what arrived; raises :class:`WireFailed`."""
        if not data:
            raise WireFailed("the pod closed the connection", nothing_came=self._came == 0)
        self._came += len(data)
        if self._came > MAX_ANSWER_BYTES:
            raise WireFailed(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise WireFailed(f"the answer is not HTTP: {error}") from error

    def on_body(self, data: bytes) -> None:
        """Part of the body."""
        self.parts.append(data)

    def on_message_complete(self) -> None:
        """Note the end; the parser knows only now whether the connection may be kept."""
        self.complete, self.may_keep = True, self.parser.should_keep_alive()
