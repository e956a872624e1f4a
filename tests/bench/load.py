"""A load generator that costs little: raw sockets, one thread, its own process.

``python load.py PORT CONNECTIONS SECONDS`` reads request targets, one a line, from stdin (after a tab: a body
to post) and asks for them in turn over kept-alive connections, each sending its next request when its last was
answered. It prints one JSON line: requests a second, p50 and p99 in milliseconds, and how many answers had which
status.
"""

import itertools
import json
import re
import selectors
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
WARM_UP_S = 1.0


class Figures(NamedTuple):
    """What one run measured; ``broken`` counts connections that ended without an answer."""

    rate: float
    p50_ms: float
    p99_ms: float
    statuses: dict[str, int]
    broken: int


class _Connection:
    def __init__(self, port: int, requests: Iterator[bytes]) -> None:
        self._port, self._requests = port, requests
        self._connect()

    def _connect(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self._port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def send(self) -> None:
        self.sent_at = time.perf_counter()
        self.socket.sendall(next(self._requests))

    def receive(self) -> str:
        """Return the status once the answer is whole, else an empty word; ``broken`` if there is none."""
        try:
            data = self.socket.recv(65_536)
        except ConnectionError:
            data = b""
        if not data:
            return "broken"
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head) if found else None
        if length is None or len(body) < int(length[1]):
            return ""
        self._received = b""
        return head[9:12].decode()


def _request(target: str) -> bytes:
    """Return the request for a target; what follows a tab is posted to it."""
    path, _, body = target.partition("\t")
    length = f"Content-Length: {len(body.encode())}\r\n" if body else ""
    return f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: bench\r\n{length}\r\n{body}".encode()


def measure(port: int, connections: int, seconds: float, targets: Sequence[str]) -> Figures:
    """Load ``port`` for ``seconds`` after a warm-up of one second."""
    requests = itertools.cycle([_request(each) for each in targets])
    selector = selectors.EpollSelector()
    for _ in range(connections):
        connection = _Connection(port, requests)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send()
    begin = time.perf_counter() + WARM_UP_S
    end, taken, statuses = begin + seconds, [], Counter()
    while (now := time.perf_counter()) < end and selector.get_map():
        for key, _ in selector.select(0.1):
            status = key.data.receive()
            if status == "":
                continue
            if now >= begin:
                statuses[status] += 1
                taken.append(time.perf_counter() - key.data.sent_at)
            if status == "broken":
                selector.unregister(key.fileobj)
            else:
                key.data.send()
    taken.sort()
    broken = statuses.pop("broken", 0)
    count = sum(statuses.values())
    p50, p99 = (1e3 * taken[int(len(taken) * share)] if taken else 0.0 for share in (0.5, 0.99))
    return Figures(count / seconds, p50, p99, dict(statuses), broken)


def in_own_process(port: int, connections: int, seconds: float, targets: Sequence[str]) -> Figures:
    """Measure from a process of its own, so that the caller's work does not slow the load down."""
    with _process(port, connections, seconds, targets) as process:
        assert process.stdout is not None
        return Figures(**json.loads(process.stdout.read()))


@contextmanager
def background(port: int, connections: int, targets: Sequence[str]) -> Iterator[None]:
    """Load from a process of its own while entered."""
    with _process(port, connections, 3_600.0, targets) as process:
        yield
        process.terminate()


def _process(port: int, connections: int, seconds: float, targets: Sequence[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(Path(__file__)), str(port), str(connections), str(seconds)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write("\n".join(targets).encode())
    process.stdin.close()
    return process


if __name__ == "__main__":
    port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    print(json.dumps(measure(port, connections, seconds, sys.stdin.read().splitlines())._asdict()))
