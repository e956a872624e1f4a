"""A whole platform under random kills: what was accepted counts once, or lies in the dead-letter topic."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
import yaml
from clients import Client, Ledger
from harness import until
from oracle import SOURCE, TOPICS, Truth, all_judged, check_stores, since, tallied

from sluice.embedded.home import Home
from sluice.embedded.models import EmbeddedRouting
from sluice.events import NewRecord
from sluice.topics import profiles_group
from sluice_cli import processes
from sluice_cli.demo.run import sample
from sluice_cli.platform import Platform

KEY = "default.demo"
WINDOW_MS = 1_000
CLIENTS = 3
PAUSE_S = 0.03
KILLS = ["profiles"] * 4 + ["api"] * 3 + ["trainer"] * 2 + ["controller", "stable-0", "canary-0"]
BETWEEN_S = (0.6, 1.4)


def model_file(folder: Path) -> Path:
    """A rollout that stays where a candidate has a third of the users."""
    model = yaml.safe_load(sample().read_bytes())
    model["spec"]["algorithm"] = {"type": "CoVisitation"}
    model["spec"]["source"]["attributionWindow"] = f"{WINDOW_MS // 1000}s"
    model["spec"]["snapshots"] |= {"events": 500, "interval": "10m"}
    model["spec"]["rollout"] |= {
        "steps": [{"setWeight": 33}, {"pause": {}}],
        "progressDeadline": "10m",
        "gates": [],
    }
    file = folder / "model.yaml"
    file.write_text(yaml.safe_dump(model))
    return file


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    monkeypatch.setattr(processes, "BACKOFF_S", (0.1,))  # they fall over often here, and on purpose
    running = Platform(tmp_path / "home", model_file(tmp_path), 0)
    try:
        running.start()
        running.start_trainer(warmup_events=400)
        yield running
    finally:
        running.stop()


class Killer:
    """Kills services in a random order, sometimes a process alone, sometimes with its workers."""

    def __init__(self, platform: Platform, seed: int) -> None:
        self._platform, self._chance = platform, random.Random(seed)
        self.killed: list[str] = []

    def kill(self, service: str) -> None:
        pid = until(lambda: self._platform.pids().get(service), f"{service} runs")
        if self._chance.random() < 0.5:
            os.kill(pid, signal.SIGKILL)
        else:
            os.killpg(pid, signal.SIGKILL)
        self.killed.append(service)

    def order(self) -> list[str]:
        return self._chance.sample(KILLS, len(KILLS))

    def wait(self) -> None:
        time.sleep(self._chance.uniform(*BETWEEN_S))  # the random instant, not a synchronisation


def poison(home: Home, number: int) -> None:
    """Append something unreadable straight to the log."""
    topic = TOPICS[number % 4]
    home.log(SOURCE).append(topic, [NewRecord(b"user-%d" % number, b"\xff nonsense %d" % number)])


def applied(home: Home) -> bool:
    log = home.log(SOURCE)
    committed = log.committed(profiles_group(SOURCE))
    ends = {part: end for topic in TOPICS[:4] for part, end in log.end_offsets(topic).items()}
    return all(committed.get(part, 0) == end for part, end in ends.items())


def trainer_status(platform: Platform) -> dict[str, object]:
    """Return what the trainer tells; empty while it does not answer."""
    try:
        answer = urllib3.request("GET", platform.trainer_status, timeout=2.0, retries=False)
    except urllib3.exceptions.HTTPError:
        return {}
    return dict(answer.json()) if answer.status == 200 else {}


def test_under_random_kills_each_accepted_event_counts_once(platform: Platform) -> None:
    home, ledger, stopping = Home(platform.home), Ledger(), threading.Event()
    routing = EmbeddedRouting(home.model(KEY))
    clients = [Client(number, platform.api, ledger, stopping, PAUSE_S) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    until(lambda: (seen := routing.read()) is not None and seen.weight == 33, "a candidate has users", 90)
    rolling = routing.read()
    assert rolling is not None
    until(lambda: "canary-0" in platform.pids(), "the candidate has a pod")

    killer = Killer(platform, seed=4)
    for number, service in enumerate(killer.order()):
        killer.wait()
        killer.kill(service)
        poison(home, number)
    killer.wait()
    stopping.set()
    for client in clients:
        client.join(30)
        assert not client.is_alive(), "what was not acknowledged is sent until it is"

    until(lambda: applied(home), "profiles have caught up", 60)
    log = home.log(SOURCE)
    ends = log.end_offsets(TOPICS.interactions)
    offsets = {str(part.number): end for part, end in ends.items()}
    until(lambda: trainer_status(platform).get("offsets") == offsets, "the trainer has caught up", 60)
    until(lambda: all_judged(home, KEY), "every answer is judged")
    status = trainer_status(platform)
    platform.stop()

    truth = Truth(log, {})
    check_ledger(ledger, truth)
    check_stores(home, truth)
    assert len(truth.letters) == len(killer.killed), "exactly the poison"
    check_attribution(home, truth, rolling.rollout)
    counted = {name: status[name] for name in ("interactions", "duplicates", "forgets", "rejected")}
    assert counted == {
        "interactions": truth.interactions,
        "duplicates": truth.repeated,
        "forgets": truth.forgets,
        "rejected": sum(topic == TOPICS.interactions for topic, _, _ in truth.letters),
    }


def check_ledger(ledger: Ledger, truth: Truth) -> None:
    """Assert that what was acknowledged is in the log and counts once, and that no answer was a failure of ours."""
    assert not ledger.unexpected
    assert len(ledger.accepted) > 500
    assert ledger.forgets
    lost = set(ledger.accepted) - set(truth.occurrences)
    assert not lost, f"{len(lost)} of {len(ledger.accepted)} accepted events are not in the log"
    assert truth.interactions == len(truth.occurrences), "each event id counts exactly once"
    assert truth.repeated == sum(len(each) for each in truth.occurrences.values()) - len(truth.occurrences)
    assert truth.repeated


def check_attribution(home: Home, truth: Truth, rollout: str) -> None:
    """Assert that the hits counted are those that the log says."""
    routing = EmbeddedRouting(home.model(KEY)).read()
    assert routing is not None
    assert routing.rollout == rollout, "one rollout the whole time"
    snapshots = {name for name in (routing.stable, routing.candidate) if name}
    expected = truth.tallied(KEY, snapshots, since(home, KEY), WINDOW_MS)
    assert sum(hits for _, hits in expected.values()) > 20
    assert tallied(home, KEY) == expected
