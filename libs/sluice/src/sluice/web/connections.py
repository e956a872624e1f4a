"""One client's connection: what it sent so far, what it has still to be sent, and until when."""

import socket
from http import HTTPStatus
from typing import Any, Final

import msgspec
from gunicorn.config import Config

from sluice.web.gather import Gathering, Refused
from sluice.web.problems import PROBLEM_JSON, Problem

IDLE, ARRIVING, LEAVING, CLOSING = "idle", "arriving", "leaving", "closing"
LIMIT_S: Final = {IDLE: 75.0, ARRIVING: 10.0, LEAVING: 10.0, CLOSING: 2.0}
"""How long a connection may wait for its next request, a request may take to arrive whole, an answer to be
taken, and a client to close what has been answered for the last time."""
_READ_BYTES: Final = 64 << 10


class Connection:
    """A socket that never blocks. Whoever took it from the worker's table is the only one to touch it."""

    __slots__ = (
        "_last", "_out", "counted", "deadline", "descriptor", "gathering", "peer", "phase", "server", "since",
        "sock",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, peer: Any, server: Any, cfg: Config, now: float) -> None:
        self.sock, self.descriptor, self.peer, self.server = sock, sock.fileno(), peer, server
        self.gathering = Gathering(cfg, peer)
        self._out, self._last = b"", False
        self.counted = 0
        self.begin(ARRIVING, now)

    @property
    def held(self) -> int:
        """Return how many bytes it keeps in memory; ``counted`` of them its worker knows of."""
        return self.gathering.held + len(self._out)

    @property
    def wants_to_send(self) -> bool:
        """Return whether part of an answer is left."""
        return bool(self._out)

    @property
    def may_ask(self) -> bool:
        """Return whether its next request may be answered now."""
        return not self._out and not self._last

    def begin(self, phase: str, now: float) -> None:
        """Enter a phase; its limit counts from now."""
        self.phase, self.since, self.deadline = phase, now, now + LIMIT_S[phase]

    def receive(self) -> bool:
        """Take what is there; return False at the client's end. Raises OSError."""
        try:
            data = self.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return True
        if not self._last:  # else it is read only because closing would reset the connection
            self.gathering.feed(data)
        return bool(data)

    def has_news(self) -> bool:
        """Return whether something has come that is not received yet."""
        try:
            return bool(self.sock.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def send(self, data: bytes, last: bool = False) -> None:
        """Send as much as the client takes; :meth:`send_rest` goes on. Raises OSError."""
        self._out, self._last = self._out + data, self._last or last
        if self._last:
            self.gathering.clear()
        self.send_rest()

    def send_rest(self) -> None:
        """Send more; after the last answer, tell the client that nothing follows. Raises OSError."""
        try:
            self._out = self._out[self.sock.send(self._out) :]
        except BlockingIOError:
            return
        if self._last and not self._out:
            self.sock.shutdown(socket.SHUT_WR)

    def settle(self, now: float, *, answered: bool) -> None:
        """Enter the phase that follows from what was received and sent."""
        if self._out:
            phase = LEAVING
        elif self._last:
            phase = CLOSING
        else:
            first = self.phase is ARRIVING and not answered
            phase = ARRIVING if first or self.gathering.begun else IDLE
        if answered or phase is not self.phase:
            self.begin(phase, now)


def refusal(refused: Refused) -> bytes:
    """Return the whole answer to what is not served."""
    phrase = HTTPStatus(refused.status).phrase
    problem = Problem(
        type=f"urn:sluice:{refused.reason}", title=phrase, status=refused.status, detail=refused.detail
    )
    body = msgspec.json.encode(problem)
    head = (
        f"HTTP/1.1 {refused.status} {phrase}\r\nConnection: close\r\n"
        f"Content-Type: {PROBLEM_JSON}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
