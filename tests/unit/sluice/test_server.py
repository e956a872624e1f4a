"""Workers of a service that change, cannot start, or end; and its listener."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sluice.web import server

SERVICE = """
import os, sys
from pathlib import Path
from sluice import logs
from sluice.web import server

folder = Path(sys.argv[1])
wanted, looks = folder / "wanted", folder / "looks"

def note(name):
    with (folder / name).open("a") as file:
        file.write(f"{os.getpid()}\\n")

class Worker:
    def __init__(self):
        from sluice import instruments, metrics
        import falcon
        from sluice.web.probes import Measured, add_probes
        self.word = wanted.read_text()
        note("builds")
        if self.word == "broken":
            raise ValueError("cannot be built")
        self.wsgi = falcon.App(middleware=[Measured()])
        self.wsgi.add_route("/word", self)
        add_probes(self.wsgi, lambda: None)
    def on_get(self, req, resp):
        resp.media = [self.word, os.getpid()]
    def start(self):
        while self.word == "slow" and not (folder / "go").exists():
            os.sched_yield()
    def stop(self):
        pass

last = wanted.read_text()
def changed():
    global last
    note("looks")
    if (folder / "unchanged").exists():
        return False
    before, last = last, wanted.read_text()
    return last != before

server.FIRST_RETRY_S = 0.2
logs.configure("test", "info")
settings = server.ServerSettings(listen_port=0, workers=2)
server.serve(settings, server.bind(settings), Worker, changed)
"""


class Service:
    """A service of two workers that answer with the word they were built with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.want("first")
        self.log = (folder / "log").open("w+")
        command = [sys.executable, "-c", SERVICE, str(folder)]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT)
        self.port = int(until(lambda: re.search(r'"port": ?(\d+)', self.says())).group(1))
        until(lambda: self.count("builds") == 2 and self.word() == "first")

    def want(self, word: str) -> None:
        (self.folder / "new").write_text(word)
        (self.folder / "new").rename(self.folder / "wanted")

    def get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def word(self) -> str:
        return str(json.loads(self.get("/word"))[0])

    def says(self) -> str:
        return (self.folder / "log").read_text()

    def count(self, name: str) -> int:
        path = self.folder / name
        return len(path.read_text().split()) if path.exists() else 0

    def workers(self) -> set[str]:
        pid = self.process.pid
        return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def until(happens: Callable[[], object]) -> object:
    """Wait for something true and return it."""
    ends_at = time.monotonic() + 60
    while not (found := happens()):
        assert time.monotonic() < ends_at, "it did not happen in time"
        time.sleep(0.01)
    return found


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.process.send_signal(signal.SIGTERM)
    try:
        assert made.process.wait(30) == 0
    finally:
        made.process.kill()
        made.log.close()


def test_new_workers_that_cannot_be_built_leave_the_old_ones_serving_until_they_can(service: Service) -> None:
    old, built = service.workers(), service.count("builds")
    service.want("broken")
    until(lambda: service.count("builds") > built + 4)  # tried at least three times, two workers each
    assert service.word() == "first"
    assert old <= service.workers()
    assert service.says().count("new workers cannot start") == 1
    service.want("second")
    until(lambda: not (old & service.workers()))
    until(lambda: len(service.workers()) == 2)
    assert service.word() == "second"


def test_a_worker_that_died_and_cannot_be_built_again_takes_no_other_with_it(service: Service) -> None:
    (service.folder / "unchanged").touch()
    service.want("broken")
    died, stays = sorted(service.workers())
    os.kill(int(died), signal.SIGKILL)
    until(lambda: service.count("builds") > 3)  # tried at least twice
    assert service.word() == "first"
    assert stays in service.workers()


def test_a_service_whose_workers_cannot_be_built_ends_as_told(service: Service) -> None:
    service.want("broken")
    until(lambda: service.count("builds") > 3)
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(30) == 0
    assert "process ends by an unexpected error" not in service.says()


def test_of_several_changes_one_replacement_is_made_at_a_time(service: Service) -> None:
    service.want("slow")
    until(lambda: service.count("builds") == 4)
    for word in ("third", "fourth"):
        service.want(word)
        looks = service.count("looks")
        until(lambda looks=looks: service.count("looks") > looks + 2)
        assert len(service.workers()) == 4
    (service.folder / "go").touch()
    until(lambda: {service.word() for _ in range(4)} == {"fourth"} and len(service.workers()) == 2)


def counted(service: Service) -> float:
    pattern = rb'sluice_requests_total{[^}]*route="/word"[^}]*} (\S+)'
    return sum(float(value) for value in re.findall(pattern, service.get("/metrics")))


def test_what_replaced_workers_counted_is_kept_in_a_folder_that_does_not_grow(service: Service) -> None:
    [folder] = {path.parent for path in _open_metrics(service)}
    for word in ("second", "third"):
        old, before = service.workers(), counted(service)
        service.want(word)
        until(lambda old=old: not (old & service.workers()) and len(service.workers()) == 2)
        until(lambda old=old: not any(f"_{pid}.db" in path.name for path in folder.iterdir() for pid in old))
        assert counted(service) >= before > 0
    pids = {path.stem.rpartition("_")[2] for path in folder.glob("*.db")}
    assert pids <= service.workers() | {"ended"}


def _open_metrics(service: Service) -> Iterator[Path]:
    for pid in service.workers():
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            if line.endswith(".db"):
                yield Path(line.split()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's filter of a listener is Linux'")
def test_who_is_let_in_before_is_served_and_newcomers_are_never_reset():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        early = socket.create_connection(address)
        server._drop_newcomers(listener)
        with pytest.raises(TimeoutError):
            socket.create_connection(address, timeout=0.2)
        accepted, _ = listener.accept()
        accepted.sendall(b"served")
        assert early.recv(6) == b"served"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5.0)
    accepted.close()
    early.close()
