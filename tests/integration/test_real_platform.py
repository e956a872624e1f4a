"""The whole platform on Kafka, MongoDB and Redis: one model from history to a decided rollout, then two."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml
from harness import until
from typer.testing import CliRunner

from sluice.backing import Backing
from sluice.evidence import EvidenceTotals
from sluice.records import Interaction
from sluice.settings import Settings
from sluice_cli import connections
from sluice_cli.commands.local import open_rollout
from sluice_cli.datasets.synthetic import Shape, generate
from sluice_cli.demo.client import Client, Recommendations
from sluice_cli.demo.run import sample
from sluice_cli.fleet import Files
from sluice_cli.main import app
from sluice_cli.platform import Platform
from sluice_operator.rollout.state import RolloutState

DATA = generate(Shape(users=200, items=400, events=12_000, seed=3))
HISTORY = 2_000
USER = DATA.interactions[HISTORY - 1].user_id
RUN = secrets.token_hex(4)
FIRST, SECOND = f"default.first-{RUN}", f"default.second-{RUN}"
CUT_EVENTS = 300

eventually = partial(until, timeout_s=60.0)
while_events_come = partial(eventually, poll_s=0.2)
"""Slow enough that a candidate rolls before the stream has run dry, on a busy machine too."""


def model_file(folder: Path, key: str, algorithm: dict[str, Any]) -> Path:
    """A model whose candidates are let through after 100 paired events."""
    model = yaml.safe_load(sample().read_bytes())
    model["metadata"]["name"] = key.partition(".")[2]
    spec = model["spec"]
    spec["algorithm"] = algorithm
    spec["source"] |= {"name": f"shop-{RUN}", "attributionWindow": "1s"}
    spec["snapshots"] |= {"events": CUT_EVENTS}
    spec["rollout"]["steps"] = [{"shadow": {"events": 100}}, {"gate": {"names": ["fidelity"]}}]
    file = folder / f"{key}.yaml"
    file.write_text(yaml.safe_dump(model))
    return file


class World:
    """A home and its servers, outliving the platforms that run there."""

    def __init__(self, folder: Path, servers: Settings) -> None:
        self.home = folder / "home"
        self.connected = connections.chosen(self.home, servers)
        self.files = [
            model_file(folder, FIRST, {"type": "CoVisitation"}),
            model_file(folder, SECOND, {"type": "GMF", "parameters": {"dimension": 8}}),
        ]
        self.stream = iter(DATA.interactions[HISTORY:])
        self.backing = Backing(self.connected)

    @contextmanager
    def running(self, models: int, experiment: str = "") -> Iterator[Platform]:
        """Run the platform of the first so many models."""
        platform = Platform(self.home, self.files[:models], 0, self.connected, experiment)
        connections.keep(platform.home, platform.connected)
        try:
            platform.start()
            yield platform
        finally:
            platform.stop()

    def state(self, key: str) -> RolloutState:
        """Return a model's rollout."""
        return open_rollout(self.home, key).read()[1]

    def evidence(self, key: str) -> EvidenceTotals:
        """Return what counts for a model's rollout in force."""
        return self.backing.evidence(key).totals(self.state(key).rollout, 0)

    def post(self, client: Client, count: int) -> None:
        """Stream the next interactions."""
        client.post_interactions([each for _, each in zip(range(count), self.stream, strict=False)])

    def sluice(self, *arguments: str) -> Any:
        """Return what a command prints as JSON about the home."""
        done = CliRunner().invoke(app, [*arguments, "--home", str(self.home), "--json"])
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, kafka: str, mongo_url: str, redis_url: str
) -> Iterator[World]:
    servers = Settings(
        kafka=kafka, mongo_url=mongo_url, mongo_database=f"sluice-test-{RUN}", redis_url=redis_url
    )
    made = World(tmp_path_factory.mktemp("real"), servers)
    yield made
    made.backing.close()


@pytest.fixture(scope="module")
def one(world: World) -> Iterator[Platform]:
    with world.running(models=1) as platform:
        client = Client(platform.api)
        client.post_items(DATA.items)
        client.post_interactions(DATA.interactions[:HISTORY])
        platform.start_trainer()
        platform.wait_ready()
        eventually(lambda: answer(client).snapshot is not None, "the first snapshot answers")
        yield platform


def answer(client: Client, model: str | None = None) -> Recommendations:
    return client.recommendations(USER, model=model)


def test_the_first_snapshot_is_promoted_and_answers_personally(world: World, one: Platform) -> None:
    state, given = world.state(FIRST), answer(Client(one.api))
    assert (given.strategy, given.snapshot) == ("personalized", state.stable)
    listed = world.sluice("snapshots", "list")
    assert [each["id"] for each in listed] == [state.stable]
    assert not list(world.home.glob("model-*.db")), "the catalog is in MongoDB"
    assert not list(world.home.glob("log.db")), "the events are in Kafka"


def test_a_click_changes_the_answer_within_a_second(one: Platform) -> None:
    client = Client(one.api)
    clicked = answer(client).items[0].item_id
    client.post_interactions([Interaction(user_id=USER, item_id=clicked)])
    until(
        lambda: clicked not in {item.item_id for item in answer(client).items},
        "the clicked item is excluded",
        timeout_s=5.0,
    )


def test_a_candidate_is_let_through_and_clicks_on_answers_are_counted(world: World, one: Platform) -> None:
    client, first = Client(one.api), world.state(FIRST).stable
    world.post(client, CUT_EVENTS)
    candidate = eventually(lambda: world.state(FIRST).candidate, "a candidate rolls")
    given = answer(client)
    item = given.items[0].item_id
    client.post_interactions([Interaction(user_id=USER, item_id=item, request_id=given.request_id)])
    eventually(lambda: sum(each.hits for each in world.evidence(FIRST).hits.values()) == 1, "the hit counts")

    def decided() -> bool:
        world.post(client, 20)
        return candidate in world.state(FIRST).promoted

    while_events_come(decided, "its paired events let it through")
    eventually(lambda: answer(client).snapshot == world.state(FIRST).stable != first, "a later one answers")
    assert first in {each["id"] for each in world.sluice("snapshots", "list")}


def test_top_sees_lag_and_learning_of_kafka(world: World, one: Platform) -> None:
    eventually(
        lambda: all(row["lag"] == 0 for row in world.sluice("top")["stream"]["lags"]), "everything is read"
    )
    shown = world.sluice("top")
    assert shown["learning"][FIRST]["learned"] >= HISTORY
    assert {row["topic"] for row in shown["stream"]["lags"]} >= {f"shop-{RUN}.interactions"}


@pytest.mark.parametrize("name", ["api", "profiles"])
def test_the_state_of_cache_and_stores_is_exposed(world: World, one: Platform, name: str) -> None:
    told = Files(world.home).platform()
    assert told is not None
    [url] = [each.url for each in told.processes if each.name == name]
    lines = urllib3.request("GET", f"{url}/metrics", timeout=5.0).data.decode().splitlines()
    assert "sluice_cache_up 1.0" in lines
    assert any(line.startswith("sluice_cache_lookups_total{") for line in lines)


@pytest.fixture(scope="module")
def two(world: World, one: Platform) -> Iterator[Platform]:
    """Both models over the events that are there; the first one goes on where it was."""
    one.stop()
    with world.running(models=2) as platform:
        platform.start_trainer()
        platform.wait_ready()
        client = Client(platform.api)
        eventually(
            lambda: answer(client, SECOND).snapshot is not None, "the second model's first snapshot answers"
        )
        yield platform


def test_each_of_two_models_answers_from_its_own_snapshot(world: World, two: Platform) -> None:
    client = Client(two.api)
    first, second = (world.state(key).stable for key in (FIRST, SECOND))
    assert first is not None
    assert second is not None
    assert first != second
    eventually(lambda: answer(client, FIRST).snapshot == first, "the first goes on")
    assert answer(client).snapshot == first, "the first file's is the default"
    assert answer(client, SECOND.partition(".")[2]).snapshot == second
    listed = {
        key: {each["id"] for each in world.sluice("snapshots", "list", "--model", key)}
        for key in (FIRST, SECOND)
    }
    assert first in listed[FIRST]
    assert second in listed[SECOND]
    assert not listed[FIRST] & listed[SECOND]


def test_each_of_two_models_decides_its_own_rollout(world: World, two: Platform) -> None:
    client = Client(two.api)
    before = {key: world.state(key).stable for key in (FIRST, SECOND)}

    def decided() -> bool:
        world.post(client, 20)
        return all(world.state(key).stable != stable for key, stable in before.items())

    while_events_come(decided, "both promote a candidate")
    shown = world.sluice("top")
    assert set(shown["rollouts"]) == set(shown["learning"]) == {FIRST, SECOND}


def test_preparing_again_finds_everything_there(world: World, two: Platform) -> None:
    files = [word for file in world.files for word in ("-f", str(file))]
    servers = ["--kafka", world.connected.kafka]
    servers += ["--mongo", world.connected.mongo_url, "--redis", world.connected.redis_url]
    done = CliRunner().invoke(
        app, ["prepare", *files, *servers, "--mongo-database", world.connected.mongo_database]
    )
    assert done.exit_code == 0
    assert done.stderr == ""
    assert done.stdout.count(": exists, 6 partitions") == 5
    assert done.stdout.count("indexes of model") == 2


@pytest.fixture(scope="module")
def tried(world: World, two: Platform) -> Iterator[Platform]:
    """Both models without their trainers, and an experiment between them."""
    two.stop()
    shares = ", ".join(f"{key}=50" for key in (FIRST, SECOND))
    with world.running(models=2, experiment=f"both@2020-01-01: {shares}") as platform:
        yield platform


def test_an_experiment_shows_requests_and_hits_of_both_models(world: World, tried: Platform) -> None:
    client, users = Client(tried.api), sorted({each.user_id for each in DATA.interactions[:HISTORY]})[:24]
    for key in (FIRST, SECOND):
        eventually(lambda key=key: answer(client, key).snapshot is not None, "each model answers")
    for user in users:
        given = client.recommendations(user)
        clicked = Interaction(user_id=user, item_id=given.items[0].item_id, request_id=given.request_id)
        client.post_interactions([clicked])

    def counted() -> bool:
        totals = world.backing.experiment("both").totals("experiment/both", 0)
        answered = sum(each.answers for each in totals.hits.values())
        return answered == sum(each.n for each in totals.requests.values()) == len(users)

    eventually(counted, "every answer and every request counts")
    told = {each["model"]: each for each in world.sluice("experiment", "both")}
    assert told.keys() == {FIRST, SECOND}
    assert all(each["requests"] == each["answers"] > 0 for each in told.values())
    assert sum(each["hits"] for each in told.values()) > 0
