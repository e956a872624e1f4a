"""The local platform as the serving benches run it: history learned, answers personal, 50 events/s arriving."""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from servers import fresh

from sluice.settings import Settings
from sluice_cli import connections
from sluice_cli.datasets.dataset import Dataset
from sluice_cli.datasets.synthetic import Shape, generate
from sluice_cli.demo.client import ApiFailed, Client
from sluice_cli.demo.run import sample
from sluice_cli.platform import Platform

EVENTS_PER_S = 50
HISTORY = 0.7
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def eventually(holds: Callable[[], bool], what: str, timeout_s: float = 120.0, poll_s: float = 0.05) -> None:
    """Wait until it holds; leaves with a sentence if it never does."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(poll_s)


@contextmanager
def platform(data: Dataset, connected: Settings = connections.NONE) -> Iterator[tuple[Platform, Client]]:
    """Run trainer, profiles, Faiss, API and controller until the first snapshot answers; GMF as the demo has it.

    All is embedded but what it is ``connected`` to.
    """
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        home = Path(folder)
        file = home / "model.yaml"
        model = yaml.safe_load(sample().read_bytes())
        model["spec"]["algorithm"] = {"type": "GMF"}
        model["metadata"]["name"] = model["spec"]["source"]["name"] = fresh("bench")  # servers may be shared
        file.write_text(yaml.safe_dump(model))
        running = Platform(home / "state", file, 0, connected)
        try:
            running.start()
            client = Client(running.api)
            history = int(len(data.interactions) * HISTORY)
            eventually(lambda: _posted(client, data), "the log takes the items")
            client.post_interactions(data.interactions[:history])
            running.start_trainer(warmup_events=1)
            user = data.interactions[history - 1].user_id
            eventually(lambda: client.recommendations(user).snapshot is not None, "a snapshot answers")
            yield running, client
        finally:
            running.stop()


def _posted(client: Client, data: Dataset) -> bool:
    """Post the items; a broker that has just begun may take longer over its first records than the API waits."""
    try:
        client.post_items(data.items)
    except ApiFailed:
        return False
    return True


class Arrivals:
    """Posts the rest of a stream, one interaction a request, at a steady rate, while it is entered."""

    def __init__(self, client: Client, data: Dataset, rate: float = EVENTS_PER_S) -> None:
        self._client, self._rate = client, rate
        self._left = iter(data.interactions[int(len(data.interactions) * HISTORY) :])
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._post)

    def __enter__(self) -> "Arrivals":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _post(self) -> None:
        due = time.monotonic()
        for interaction in self._left:
            due += 1.0 / self._rate
            if self._stopping.wait(max(0.0, due - time.monotonic())):
                return
            self._client.post_interactions([interaction])


def stream(users: int = 600, items: int = 1_500, events: int = 50_000) -> Dataset:
    """Return the synthetic stream of the benches."""
    return generate(Shape(users=users, items=items, events=events, seed=1))


def processor_ms(pid: int) -> float:
    """Return what a process and its children have used of the processors, in milliseconds."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    fields = [Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split() for each in (pid, *children)]
    return sum(int(each[11]) + int(each[12]) for each in fields) * 1e3 / TICKS_PER_S
