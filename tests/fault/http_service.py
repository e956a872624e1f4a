"""A small service on Sluice's own server, and raw clients to hurt it with.

Run as a script it serves; its app echoes JSON, sleeps, answers much, and says which process answered. Limits in
time may be shortened, so that tests need not wait for them.
"""

import json
import os
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Answer(NamedTuple):
    """One HTTP answer as it came over the wire."""

    status: int
    head: str
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def closes(self) -> bool:
        """Whether it is the connection's last."""
        return "connection: close" in self.head.lower()


class Client:
    """A raw connection."""

    def __init__(self, port: int, timeout_s: float = 10.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self._received = bytearray()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> "Client":
        """Send bytes as they are."""
        self.socket.sendall(data)
        return self

    def get(self, path: str) -> Answer:
        """Ask and return the answer."""
        return self.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).answer()

    def post(self, path: str, body: bytes) -> Answer:
        """Post and return the answer."""
        return self.send(
            b"POST %b HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)
        ).answer()

    def answer(self) -> Answer:
        """Return the next answer; raises ConnectionError if there is none."""
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head = bytes(self._received.partition(b"\r\n\r\n")[0])
        length = _LENGTH.search(head)
        assert length is not None, head
        end = len(head) + 4 + int(length[1])
        while len(self._received) < end:
            self._receive()
        body, self._received = bytes(self._received[len(head) + 4 : end]), self._received[end:]
        return Answer(int(head[9:12]), head.decode(), body)

    def _receive(self) -> None:
        data = self.socket.recv(65_536)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._received += data

    def ended(self) -> bool:
        """Wait until the server has closed the connection; whether it did so without a reset."""
        try:
            while self.socket.recv(65_536):
                pass
        except ConnectionResetError:
            return False
        return True


class Service:
    """The service as a process."""

    def __init__(self, folder: Path, **options: Any) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = folder / f"service-{self.port}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, __file__, json.dumps({"port": self.port, **options})], stdout=log, stderr=log
            )
        self.until(self.answers, "the service answers")

    def until(self, holds: Any, what: str, timeout_s: float = 10.0) -> Any:
        """Return what ``holds`` returns once that is true."""
        deadline = time.monotonic() + timeout_s
        while not (found := holds()):
            assert time.monotonic() < deadline, (
                f"not within {timeout_s} s: {what}\n{self.log.read_text()[-2000:]}"
            )
            time.sleep(0.02)
        return found

    def answers(self) -> bool:
        """Whether a new connection is answered."""
        try:
            with self.client() as client:
                return client.get("/healthz").status == 200
        except OSError:
            return False

    def client(self, timeout_s: float = 10.0) -> Client:
        """Return a new connection."""
        return Client(self.port, timeout_s)

    def workers(self) -> list[int]:
        """Return the worker processes."""
        pid = self.process.pid
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def resident_bytes(self) -> int:
        """Return what the workers hold in memory."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.workers())
        return pages * resource.getpagesize()

    def sockets(self) -> int:
        """Return how many sockets the workers have open."""
        links = [link for pid in self.workers() for link in Path(f"/proc/{pid}/fd").iterdir()]
        return sum(_is_socket(link) for link in links)

    def stop(self) -> int:
        """End it; return its exit code."""
        self.process.terminate()
        return self.process.wait(30)


def _is_socket(link: Path) -> bool:
    try:
        return os.readlink(link).startswith("socket:")
    except OSError:
        return False


@contextmanager
def running(folder: Path, **options: Any) -> Iterator[Service]:
    """Run the service; see :func:`serve` for the options."""
    service = Service(folder, **options)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.process.kill()
            service.process.wait()


def serve(
    port: int,
    workers: int = 1,
    threads: int = 4,
    connections: int = 1_000,
    limits: Any = None,
    last_request_s: float = 2.0,
    held_bytes: int = 64 << 20,
) -> None:
    """Serve until SIGTERM; ``limits`` shortens phases of :data:`sluice.web.connections.LIMIT_S`."""
    from sluice import logs
    from sluice.web import connections as connection_limits
    from sluice.web import held, worker
    from sluice.web.server import ServerSettings, bind
    from sluice.web.server import serve as run

    logs.configure("service", "info")
    connection_limits.LIMIT_S.update(limits or {})
    worker.LAST_REQUEST_S = last_request_s  # type: ignore[misc]
    held.HELD_BYTES = held_bytes  # type: ignore[misc]
    settings = ServerSettings(listen_port=port, workers=workers, threads=threads, connections=connections)
    run(settings, bind(settings), _App)


class _App:
    """See :class:`sluice.web.server.Worker`; imports come after the fork, as in the services."""

    def __init__(self) -> None:
        import falcon
        import prometheus_client

        from sluice.web import probes, problems

        alive = prometheus_client.Gauge("service_workers", "Workers that live.", multiprocess_mode="livesum")
        alive.set(1)

        self.wsgi = falcon.App(middleware=[probes.Measured()])
        problems.install(self.wsgi)
        for path, method in {"echo": "post", "sleep": "get", "much": "get", "pid": "get"}.items():
            resource_type = type(path, (), {f"on_{method}": staticmethod(globals()[f"_{path}"])})
            self.wsgi.add_route(f"/{path}", resource_type())
        probes.add_probes(self.wsgi, lambda: None)

    def start(self) -> None:
        """Nothing runs beside."""

    def stop(self) -> None:
        """Nothing ran beside."""


def _echo(req: Any, resp: Any) -> None:
    from sluice.web.bodies import decode, read_bytes, send

    send(resp, decode(read_bytes(req)))


def _sleep(req: Any, resp: Any) -> None:
    time.sleep(float(req.get_param("s")))
    resp.media = "slept"


def _much(req: Any, resp: Any) -> None:
    resp.data = b"x" * (16 << 20)


def _pid(req: Any, resp: Any) -> None:
    resp.media = os.getpid()


if __name__ == "__main__":
    serve(**json.loads(sys.argv[1]))
