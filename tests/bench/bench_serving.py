"""Requests a second of the whole API path (client, API, Faiss, back) while 50 events/s are posted and learned.

Eight kept-alive connections ask for ten items each; trainer, profiles and controller run beside. In the same run
the *bare pair*: two minimal Falcon apps on gunicorn's own threads in a row, in memory only (bare.py), under the
same load. Turns alternate; the median turn counts, and the worst is told. First all is embedded, then the same
on Kafka, MongoDB and Redis, which take their share of this machine's processors too.
"""

import argparse
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import load
import report
import running
import stages
from servers import servers

from sluice import logs
from sluice.settings import Settings
from sluice_cli import connections
from sluice_cli.datasets.dataset import Dataset
from sluice_cli.fleet import Files

CONNECTIONS, TURNS, SECONDS = 8, 3, 6.0


@contextmanager
def bare_pair() -> Iterator[int]:
    """Run the bare pair; gives the front's port."""
    front, back = _free_port(), _free_port()
    script = str(Path(__file__).with_name("bare.py"))
    commands = (["back", str(back)], ["front", str(front), str(back)])
    processes = [subprocess.Popen([sys.executable, script, *command]) for command in commands]
    try:
        for port in (front, back):
            running.eventually(lambda port=port: _listens(port), "the bare pair listens", 20.0)
        yield front
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def row(name: str, turns: list[load.Figures]) -> tuple[object, ...]:
    """Return a table row: medians over the turns, the worst p99, and what was not answered well."""
    wrong = sum(turn.broken + sum(turn.statuses.values()) - turn.statuses.get("200", 0) for turn in turns)
    return (
        name,
        f"{statistics.median(turn.rate for turn in turns):,.0f}",
        f"{statistics.median(turn.p50_ms for turn in turns):.1f}",
        f"{statistics.median(turn.p99_ms for turn in turns):.1f}",
        f"{max(turn.p99_ms for turn in turns):.1f}",
        wrong,
    )


def measure(connected: Settings, data: Dataset, seconds: float, turns: int) -> None:
    """Print the figures of one platform."""
    users = sorted({each.user_id for each in data.interactions})
    targets = [f"/v1/recommendations/{user}?n=10" for user in users]
    whole, bare = list[load.Figures](), list[load.Figures]()
    with running.platform(data, connected) as (platform, client), bare_pair() as front:
        api = platform.pids()["api"] or 0
        for _ in range(turns):
            bare.append(
                load.in_own_process(front, CONNECTIONS, seconds, [f"/recommendations/{u}" for u in users])
            )
            with running.Arrivals(client, data):
                whole.append(load.in_own_process(platform.port, CONNECTIONS, seconds, targets))
        before = running.processor_ms(api)
        alone = load.in_own_process(platform.port, CONNECTIONS, seconds, targets)
        used = (running.processor_ms(api) - before) / max(1.0, alone.rate * (seconds + load.WARM_UP_S))
        pod = next(each.url for each in Files(platform.home).pods())
        parts = stages.stages(platform, pod, users)
    name = connections.described(connected) or "embedded"
    report.table(
        (f"{name}, 8 connections", "requests/s", "p50 ms", "p99 ms", "worst p99", "not 200"),
        [
            row("bare pair", bare),
            row("API, 50 events/s learned", whole),
            row("API, nothing arriving", [alone]),
        ],
    )
    shares = sorted(one.rate / other.rate for one, other in zip(whole, bare, strict=True))
    print(
        f"beside the bare pair: {statistics.median(shares):.2f}x; the API's processor time: {used:.2f} ms a request\n"
    )
    report.table(("one request over one connection", "ms"), parts)


def main() -> None:
    """Print the tables; ``--quick`` takes one short turn each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=("embedded", "real"))
    parser.add_argument("--without-kafka", action="store_true", help="on MongoDB and Redis, the log embedded")
    chosen = parser.parse_args()
    seconds, turns = (3.0, 1) if chosen.quick else (SECONDS, TURNS)
    report.header(report.command())
    logs.configure("bench", "warning", whole_process=False)
    data = running.stream()
    if chosen.only != "real":
        measure(connections.NONE, data, seconds, turns)
    if chosen.only != "embedded":
        with servers(kafka=not chosen.without_kafka) as connected:
            measure(connected, data, seconds, turns)


if __name__ == "__main__":
    main()
