"""A full disk under the embedded log and the stores: refused plainly, nothing accepted lost, no hand needed."""

from pathlib import Path

import pytest
import urllib3
import yaml
from harness import Children, free_port, until
from oracle import SOURCE, TOPICS, Truth, check_stores

from conftest import SmallDisk
from sluice.embedded.home import Home
from sluice.topics import profiles_group
from sluice_cli.demo.run import sample

DISK_BYTES = 4_000_000
STEP_BYTES = 20_000


class Shop:
    """API and profiles over a home on a small disk."""

    def __init__(self, disk: Path, folder: Path, children: Children) -> None:
        self.home, self._children = Home(disk / "home"), children
        self._ballast = disk / "ballast"
        self.model = folder / "model.yaml"
        model = yaml.safe_load(sample().read_bytes())
        self.model.write_text(yaml.safe_dump(model))
        self.port = free_port()
        self._http = urllib3.PoolManager(timeout=20.0, retries=False)
        self.accepted: list[str] = []
        self.statuses: dict[int, int] = {}

    def start(self, *arguments: str, **more: str):
        environment = {"SLUICE_HOME": str(self.home.folder), "SLUICE_MODEL_FILE": str(self.model)}
        return self._children.start("sluice_recommender", *arguments, environment=environment | more)

    def start_api(self):
        return self.start("api", SLUICE_LISTEN_PORT=str(self.port), SLUICE_LOCAL="true")

    def post(self, event_id: str) -> int:
        """Post one interaction; return the status."""
        event = {"user_id": f"u{event_id}"[-3:], "item_id": "i", "event_id": event_id}
        answer = self.send(event)
        self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
        if answer.status == 202:
            self.accepted.append(event_id)
        elif answer.status == 503:
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["type"] == "urn:sluice:storage-unavailable"
        return answer.status

    def send(self, interactions: object) -> urllib3.BaseHTTPResponse:
        url = f"http://127.0.0.1:{self.port}/v1/interactions"
        return self._http.request("POST", url, json=interactions)

    def ask(self) -> int:
        answer = self._http.request("GET", f"http://127.0.0.1:{self.port}/v1/recommendations/u1")
        return answer.status

    def fill(self) -> None:
        """Take what is left of the disk, to the last page."""
        with self._ballast.open("ab", buffering=0) as stream:
            try:
                while stream.write(b"\0" * STEP_BYTES) == STEP_BYTES:
                    pass
            except OSError:
                return

    def free(self) -> None:
        self._ballast.unlink()

    def applied(self) -> bool:
        log = self.home.log(SOURCE)
        committed = log.committed(profiles_group(SOURCE))
        ends = {part: end for topic in TOPICS[:4] for part, end in log.end_offsets(topic).items()}
        return all(committed.get(part, 0) == end for part, end in ends.items())


@pytest.fixture
def shop(small_disk: SmallDisk, tmp_path: Path, children: Children) -> Shop:
    return Shop(small_disk(DISK_BYTES), tmp_path, children)


def test_a_full_disk_is_told_and_survived(shop: Shop) -> None:
    api, profiles = shop.start_api(), shop.start("profiles")
    until(lambda: "listening" in api.says() and shop.post("first") == 202, "the API takes interactions")
    numbers = iter(range(100_000))

    for _ in range(2):  # full, freed, and full again
        shop.fill()
        until(lambda: shop.post(f"e{next(numbers)}") == 503, "the log is full", poll_s=0.0)
        for _ in range(5):
            assert shop.post(f"e{next(numbers)}") in (202, 503)
            assert shop.ask() == 200, "what is known is answered"
        shop.free()
        until(lambda: shop.post(f"e{next(numbers)}") == 202, "it takes interactions again")
        until(shop.applied, "profiles go on by themselves")

    assert api.running
    assert profiles.running
    assert set(shop.statuses) == {202, 503}
    assert api.stop() == 0
    assert profiles.stop() == 0
    truth = Truth(shop.home.log(SOURCE), {})
    assert set(shop.accepted) <= set(truth.occurrences), "nothing accepted is lost"
    check_stores(shop.home, truth)


def test_profiles_killed_on_a_full_disk_go_on_once_there_is_space(shop: Shop) -> None:
    api = shop.start_api()
    until(lambda: "listening" in api.says() and shop.post("first") == 202, "the API takes interactions")
    many = [{"user_id": f"user-{number}", "item_id": f"item-{number}"} for number in range(1_000)]
    assert shop.send(many).status == 202
    shop.fill()
    profiles = shop.start("profiles")
    until(lambda: "waiting" in profiles.says() or not profiles.running, "it meets the full disk")
    profiles.kill()
    profiles = shop.start("profiles")
    shop.free()

    def applied() -> bool:  # it may have refused to start: then its supervisor starts it again
        return shop.applied() or (not profiles.running and bool(shop.start("profiles")) and shop.applied())

    until(applied, "everything is applied", poll_s=0.5)
    api.stop()
    check_stores(shop.home, Truth(shop.home.log(SOURCE), {}))
