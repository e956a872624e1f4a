"""Kept-alive HTTP connections to one pod: a request, its answer, and not a moment past the deadline."""

import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import httptools

from sluice.web.request_ids import passed_on

CONNECT_TIMEOUT_S: Final = 0.25
MAX_ANSWER_BYTES: Final = 4 << 20
_READ_BYTES: Final = 64 << 10


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

    def search(self, body: bytes, deadline: float) -> Reply:
        """Post a search. Raises :class:`TimeoutError` at ``deadline``, or another :class:`OSError`."""
        message = b"%b%d\r\n%b\r\n%b" % (self._head, len(body), passed_on(), body)
        while self._idle:
            try:
                return self._exchange(self._idle.pop(), message, deadline)
            except (ConnectionError, WireFailed) as error:
                if isinstance(error, WireFailed) and not error.nothing_came:
                    raise
                # the pod had closed what was kept: another one may be open, a new one will be
        return self._exchange(self._connect(deadline), message, deadline)

    def close(self) -> None:
        """Close what is kept."""
        while self._idle:
            self._idle.pop().close()

    def _connect(self, deadline: float) -> socket.socket:
        timeout = min(CONNECT_TIMEOUT_S, self._left(deadline))
        connection = socket.create_connection(self._address, timeout)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self._tls.wrap_socket(connection, server_hostname=self._host) if self._tls else connection
        except OSError:
            connection.close()
            raise

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
