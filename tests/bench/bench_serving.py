"""Requests a second of the whole API path (client, API, Faiss, back) while 50 events/s are posted and learned.

Eight kept-alive connections ask for ten items each; trainer, profiles and controller run beside. In the same run
the *bare pair*: two minimal Falcon apps on gunicorn's own threads in a row, in memory only (bare.py), under the
same load. Turns alternate; the median turn counts, and the worst is told.
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

from sluice_cli.fleet import Files

CONNECTIONS, TURNS = 8, 5


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


def main() -> None:
    """Print the table; ``--quick`` takes one short turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    seconds, turns = (3.0, 1) if quick else (8.0, TURNS)
    report.header(report.command())
    data = running.stream()
    users = sorted({each.user_id for each in data.interactions})
    whole, bare = [], []
    with running.platform(data) as (platform, client), bare_pair() as front:
        targets = [f"/v1/recommendations/{user}?n=10" for user in users]
        for _ in range(turns):
            bare.append(
                load.in_own_process(front, CONNECTIONS, seconds, [f"/recommendations/{u}" for u in users])
            )
            with running.Arrivals(client, data):
                whole.append(load.in_own_process(platform.port, CONNECTIONS, seconds, targets))
        alone = load.in_own_process(platform.port, CONNECTIONS, seconds, targets)
        pod = next(each.url for each in Files(platform.home).pods())
        parts = stages.stages(platform, pod, users)
    report.table(
        ("8 connections", "requests/s", "p50 ms", "p99 ms", "worst p99", "not 200"),
        [
            row("bare pair", bare),
            row("API, 50 events/s learned", whole),
            row("API, nothing arriving", [alone]),
        ],
    )
    shares = sorted(one.rate / other.rate for one, other in zip(whole, bare, strict=True))
    print(f"beside the bare pair: {statistics.median(shares):.2f}x\n")
    report.table(("one request over one connection", "ms"), parts)


if __name__ == "__main__":
    main()
