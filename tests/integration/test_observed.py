"""What an SRE sees of a running platform: metrics as declared, statsd, logs of one form, ``sluice top``."""

import json
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec
import pytest
import urllib3
import yaml
from harness import until
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from sluice.embedded.home import Home
from sluice.events import NewRecord
from sluice.metrics import DECLARED, Process
from sluice_cli.datasets.synthetic import Shape, generate
from sluice_cli.demo.client import Client
from sluice_cli.demo.run import sample
from sluice_cli.fleet import LocalPlatform, LocalProcess
from sluice_cli.main import app
from sluice_cli.platform import Platform

DATA = generate(Shape(users=60, items=200, events=3_000, seed=3))
SERVICES = {
    "api": Process.API,
    "stable-0": Process.FAISS,
    "profiles": Process.PROFILES,
    "trainer": Process.TRAINER,
    "controller": Process.CONTROLLER,
}
OF_SERVERS = {
    "sluice_events_lost_total",  # the embedded log deletes nothing
    "sluice_cache_up",
    "sluice_cache_lookups_total",
    "sluice_store_up",
}
"""What an embedded platform does not have."""


eventually = partial(until, timeout_s=60.0)


@pytest.fixture(scope="module")
def daemon() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.settimeout(0.5)
        yield bound


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, daemon: socket.socket) -> Iterator[Platform]:
    home = tmp_path_factory.mktemp("home")
    model = yaml.safe_load(sample().read_bytes())
    model["spec"]["algorithm"] = {"type": "CoVisitation"}
    model["spec"]["snapshots"] |= {"events": 300, "interval": "10m"}
    model["spec"]["rollout"]["steps"] = [{"shadow": {"events": 100_000}}]  # stays there
    file = home / "model.yaml"
    file.write_text(yaml.safe_dump(model))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SLUICE_LOG_LEVEL", "debug")
        patched.setenv("SLUICE_STATSD", f"127.0.0.1:{daemon.getsockname()[1]}")
        running = Platform(home, file, 0)
        try:
            running.start()
            client = Client(running.api)
            client.post_items(DATA.items)
            client.post_interactions(DATA.interactions[:2_000])
            running.start_trainer()
            running.wait_ready()
            user = DATA.interactions[-1].user_id
            eventually(
                lambda: client.recommendations(user).snapshot is not None, "the first snapshot answers"
            )
            Home(home).log("shop").append("shop.interactions", [NewRecord(b"u", b'{"user_id": 7}')])
            client.post_interactions(DATA.interactions[2_000:2_700])
            eventually(lambda: bool(_rollouts(running)), "a candidate rolls")
            yield running
        finally:
            running.stop()


def _rollouts(platform: Platform) -> list[str]:
    rollouts = looked(platform)["rollouts"]
    return [state["candidate"] for state in rollouts.values() if state.get("candidate")]


def looked(platform: Platform) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["top", "--home", str(platform.home), "--json"])
    assert done.exit_code == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def processes(platform: Platform) -> dict[str, LocalProcess]:
    told = msgspec.json.decode(
        (platform.home / "fleet" / "platform.json").read_bytes(), type=LocalPlatform
    ).processes
    return {each.name: each for each in told}


def scraped(process: LocalProcess) -> list[Family]:
    text = urllib3.request("GET", f"{process.url}/metrics", timeout=5.0).data.decode()
    return [each for each in text_string_to_metric_families(text) if each.name.startswith("sluice_")]


@pytest.mark.parametrize(("name", "service"), SERVICES.items())
def test_every_process_exposes_what_is_declared_of_it_and_nothing_else(
    platform: Platform, name: str, service: Process
) -> None:
    families = scraped(processes(platform)[name])
    for family in families:
        declared = DECLARED[family.name + ("_total" if family.type == "counter" else "")]
        assert (family.type, family.documentation) == (declared.kind, declared.meaning)
        assert service in declared.processes
        labels = {frozenset(each.labels.keys() - {"le"}) for each in family.samples}
        assert labels <= {frozenset(declared.labels)}, family.name
    introduced = [each.labels["service"] for f in families for each in f.samples if f.name == "sluice_info"]
    assert introduced == [service]


def test_every_declared_metric_is_exposed(platform: Platform) -> None:
    exposed = {
        family.name + ("_total" if family.type == "counter" else "")
        for process in processes(platform).values()
        for family in scraped(process)
    }
    assert exposed == DECLARED.keys() - OF_SERVERS


def test_top_shows_sane_numbers(platform: Platform) -> None:
    Client(platform.api).post_interactions(DATA.interactions[2_700:2_710])
    eventually(lambda: looked(platform)["stream"]["dead_letters"] == 1, "the dead letter is counted")
    shown = looked(platform)
    rows = {row["name"]: row for row in shown["processes"]}
    assert {name: row["service"] for name, row in rows.items() if name in SERVICES} == SERVICES
    for name in SERVICES:
        row = rows[name]
        assert row["answers"]
        assert row["pid"] == platform.pids()[name]
        assert 10e6 < row["memory_bytes"] < 3e9
        assert 0 <= row["cpu_percent"] < 400
        assert row["restarts"] == 0
    stream, [learning] = shown["stream"], shown["learning"].values()
    eventually(lambda: all(row["lag"] == 0 for row in looked(platform)["stream"]["lags"]), "all is read")
    assert stream["overlay_items"] == len(DATA.items)
    assert {row["topic"] for row in stream["lags"]} >= {"shop.interactions", "shop.items", "shop.answers"}
    assert learning["learned"] >= 2_700
    assert learning["algorithm"] == "CoVisitation"
    [state] = shown["rollouts"].values()
    roles = {row["role"]: row for row in shown["snapshots"]}
    assert roles["stable"]["id"] == state["stable"]
    assert roles["stable"]["loaded"] == ["stable-0"]
    assert roles["stable"]["bytes"] > 0
    assert {each["reason"] for each in state["notes"]} >= {"RolloutStarted", "Promoted"}
    assert shown["headroom_bytes"] > 0


def test_one_frame_of_it_is_plain_text(platform: Platform) -> None:
    done = CliRunner().invoke(app, ["top", "--home", str(platform.home), "--once"])
    assert done.exit_code == 0
    for shown in (
        "Sluice top ",
        "stable-0",
        "dead letters 1",
        "trainer CoVisitation",
        "Progressing",
        "decisions",
    ):
        assert shown in done.stdout
    assert "silent" not in done.stdout


def test_statsd_gets_the_same_names_of_every_process(platform: Platform, daemon: socket.socket) -> None:
    names: set[str] = set()
    services: set[str] = set()

    def received() -> bool:
        try:
            datagram = daemon.recv(65_536)
        except TimeoutError:
            return False
        assert len(datagram) <= 1_400
        for line in datagram.decode().splitlines():
            name, _, rest = line.partition(":")
            names.add(name)
            services.update(word[8:] for word in rest.rpartition("#")[2].split(",") if word[:8] == "service:")
        return services == set(Process)

    eventually(received, "each process has pushed")
    for name in names:
        base = name if name in DECLARED else name.rpartition("_")[0]
        assert base in DECLARED, name


def test_every_line_of_every_log_is_one_json_object_with_the_same_first_fields(platform: Platform) -> None:
    logs = {path.stem: path.read_text().splitlines() for path in (platform.home / "logs").glob("*.log")}
    assert logs.keys() >= SERVICES.keys()
    for name, lines in logs.items():
        for line in lines:
            document = json.loads(line)
            assert list(document)[:4] == ["ts", "level", "service", "event"], f"{name}: {line}"
    [rejected] = [json.loads(line) for line in logs["profiles"] if "records rejected" in line]
    assert (rejected["topic"], rejected["service"], rejected["count"]) == ("shop.interactions", "profiles", 1)
    assert {"partition", "offset", "reason"} <= rejected.keys()
    decided = [json.loads(line) for line in logs["controller"] if "rollout decided" in line]
    assert {"reason", "message", "epoch", "rollout"} <= decided[0].keys()


def test_a_request_has_one_id_in_the_logs_of_all_services_it_passes(platform: Platform) -> None:
    user = DATA.interactions[-1].user_id
    answer = urllib3.request(
        "GET",
        f"{platform.api}/v1/recommendations/{user}",
        headers={"X-Request-Id": "r-observed"},
        timeout=5.0,
    )
    assert (answer.status, answer.headers["X-Request-Id"]) == (200, "r-observed")

    def routes() -> set[str]:
        logs = [platform.home / "logs" / f"{name}.log" for name in ("api", "stable-0")]
        lines = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
        return {line["route"] for line in lines if line.get("request_id") == "r-observed"}

    eventually(lambda: routes() == {"/v1/recommendations/{user_id}", "/v1/search"}, "both have told")
