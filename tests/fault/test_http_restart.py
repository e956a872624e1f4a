"""The real services stopped under load, as the local supervisor restarts them (case 28)."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from harness import until
from http_service import Client

from sluice_cli.datasets.synthetic import Shape, generate
from sluice_cli.demo.client import Client as Poster
from sluice_cli.demo.run import sample
from sluice_cli.platform import Platform

DATA = generate(Shape(users=40, items=100, events=1_000, seed=3))
USERS = sorted({each.user_id for each in DATA.interactions})


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    home = tmp_path_factory.mktemp("home")
    model = yaml.safe_load(sample().read_bytes())
    model["spec"]["algorithm"] = {"type": "CoVisitation"}
    file = home / "model.yaml"
    file.write_text(yaml.safe_dump(model))
    running = Platform(home, file, 0)
    try:
        running.start()
        poster = Poster(running.api)
        poster.post_items(DATA.items)
        poster.post_interactions(DATA.interactions)
        running.start_trainer(warmup_events=1)
        until(lambda: poster.recommendations(USERS[0]).snapshot is not None, "a snapshot answers", 60.0)
        yield running
    finally:
        running.stop()


class Load(threading.Thread):
    """Eight of these ask until told to stop, and connect again whenever they may not go on."""

    def __init__(self, port: int, stop: threading.Event) -> None:
        super().__init__()
        self._port, self._ending = port, stop
        self.seen: Counter[str] = Counter()

    def run(self) -> None:
        """Ask."""
        while not self._ending.is_set():
            try:
                with Client(self._port) as client:
                    self._ask(client)
            except ConnectionRefusedError:
                self.seen["refused"] += 1
                time.sleep(0.02)
            except ConnectionError as error:
                self.seen[type(error).__name__] += 1

    def _ask(self, client: Client) -> None:
        while not self._ending.is_set():
            answer = client.get(f"/v1/recommendations/{USERS[self.seen['200'] % len(USERS)]}")
            self.seen[str(answer.status)] += 1
            self.seen[answer.json["strategy"]] += 1
            if answer.closes:
                return


@pytest.mark.parametrize(("service", "allowed"), [("stable-0", set()), ("api", {"refused"})])
def test_a_restart_under_load_gives_no_error_and_resets_nobody(
    platform: Platform, service: str, allowed: set[str]
) -> None:
    stop = threading.Event()
    loads = [Load(platform.port, stop) for _ in range(8)]
    for load in loads:
        load.start()
    try:
        until(lambda: all(load.seen["personalized"] > 5 for load in loads), "the load runs", 20.0)
        pid = platform.pids()[service]
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        until(lambda: platform.pids()[service] not in (None, pid), f"{service} runs again", 20.0)
        marks = [load.seen["personalized"] for load in loads]
        until(
            lambda: all(
                load.seen["personalized"] > mark + 5 for load, mark in zip(loads, marks, strict=True)
            ),
            "answers are personal again",
            20.0,
        )
    finally:
        stop.set()
        for load in loads:
            load.join()
    seen = sum((load.seen for load in loads), Counter[str]())
    assert set(seen) - {"personalized", "personalized+popular", "popular"} == {"200"} | allowed, seen
    assert "Traceback" not in (Path(platform.home) / "logs" / f"{service}.log").read_text()
