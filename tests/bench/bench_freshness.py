"""Time from an interaction's post to another answer, while the load of bench_serving.py runs.

Visitors of their own click the first of their ten items, one after another, and ask again and again until the
other nine differ from before: that the clicked item is gone does not count, nor does another snapshot. First all
is embedded, then the same through Kafka, MongoDB and Redis.
"""

import argparse
import time

import load
import report
import running
from servers import servers

from sluice import logs
from sluice.records import Interaction
from sluice.settings import Settings
from sluice_cli import connections
from sluice_cli.datasets.dataset import Dataset
from sluice_cli.demo.client import Client, Recommendations

VISITORS, FIRST_CLICKS, GIVE_UP_S, POLL_S = 20, 5, 5.0, 0.002


def changed(before: Recommendations, after: Recommendations) -> bool:
    """Return whether more is different than that the clicked first item is gone."""
    clicked = before.items[0].item_id
    rest = [each.item_id for each in after.items if each.item_id != clicked]
    return rest[:9] != [each.item_id for each in before.items[1:]]


def click(client: Client, user: str) -> float | None:
    """Click once; return seconds until the answer changed, None if a snapshot came between, inf if it never did."""
    before = client.recommendations(user, 10)
    began = time.perf_counter()
    client.post_interactions([Interaction(user_id=user, item_id=before.items[0].item_id)])
    while time.perf_counter() - began < GIVE_UP_S:
        after = client.recommendations(user, 10)
        if after.snapshot != before.snapshot:
            return None
        if changed(before, after):
            return time.perf_counter() - began
        time.sleep(POLL_S)
    return float("inf")


def clicks(client: Client, items: list[str], count: int) -> list[float]:
    """Return the seconds of ``count`` clicks by visitors in turn."""
    users = [f"visitor-{number}" for number in range(VISITORS)]
    for number, user in enumerate(users):
        chosen = items[number * FIRST_CLICKS : (number + 1) * FIRST_CLICKS]
        client.post_interactions([Interaction(user_id=user, item_id=each) for each in chosen])
    for user in users:
        running.eventually(
            lambda user=user: client.recommendations(user).strategy == "personalized", user, 20.0
        )
    measured: list[float] = []
    for number in range(2 * count):
        seconds = click(client, users[number % VISITORS])
        measured += [seconds] if seconds is not None else []
        if len(measured) == count:
            break
    return sorted(measured)


def measure(connected: Settings, data: Dataset, count: int) -> None:
    """Print the figures of one platform."""
    targets = [f"/v1/recommendations/{each.user_id}?n=10" for each in data.interactions[::50]]
    rows = []
    with running.platform(data, connected) as (platform, client):
        items = [each.item_id for each in data.items]
        rows.append(row("nothing else", clicks(client, items, count // 4)))
        with running.Arrivals(client, data), load.background(platform.port, 8, targets):
            rows.append(row("8 connections, 50 events/s", clicks(client, items, count)))
    name = connections.described(connected) or "embedded"
    report.table((f"{name}, beside", "clicks", "p50 ms", "p99 ms", "worst ms"), rows)


def main() -> None:
    """Print the tables; ``--quick`` takes few clicks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=("embedded", "real"))
    chosen = parser.parse_args()
    count = 60 if chosen.quick else 600
    report.header(report.command())
    logs.configure("bench", "warning", whole_process=False)
    data = running.stream()
    if chosen.only != "real":
        measure(connections.NONE, data, count)
    if chosen.only != "embedded":
        with servers() as connected:
            measure(connected, data, count)


def row(name: str, seconds: list[float]) -> tuple[object, ...]:
    """Return a table row."""
    p50, p99 = (1e3 * seconds[int(len(seconds) * share)] for share in (0.5, 0.99))
    return name, len(seconds), f"{p50:.0f}", f"{p99:.0f}", f"{1e3 * seconds[-1]:.0f}"


if __name__ == "__main__":
    main()
