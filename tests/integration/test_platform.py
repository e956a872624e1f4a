"""The whole platform as processes: events in, snapshot rolled out, answers out; services killed and back."""

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml
from harness import until

from sluice.backing import Backing
from sluice.embedded.home import Home
from sluice.records import Interaction
from sluice_cli.connections import settings_of
from sluice_cli.datasets.synthetic import Shape, generate
from sluice_cli.demo.client import ApiFailed, Client
from sluice_cli.demo.run import sample
from sluice_cli.demo.sabotage import sabotage
from sluice_cli.platform import Platform
from sluice_operator.embedded import EmbeddedRollout
from sluice_operator.rollout.observation import Command, Verb
from sluice_operator.rollout.state import Phase

KEY = "default.demo"
DATA = generate(Shape(users=60, items=200, events=3_000, seed=3))
USER = DATA.interactions[-1].user_id


eventually = partial(until, timeout_s=30.0)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    home = tmp_path_factory.mktemp("home")
    model = yaml.safe_load(sample().read_bytes())
    model["spec"]["algorithm"] = {"type": "CoVisitation"}
    model["spec"]["snapshots"] |= {"events": 300, "interval": "10m"}
    model["spec"]["rollout"]["steps"] = [{"shadow": {"events": 100_000}}]  # stays there until told otherwise
    file = home / "model.yaml"
    file.write_text(yaml.safe_dump(model))
    running = Platform(home, file, 0)
    try:
        running.start()
        client = Client(running.api)
        client.post_items(DATA.items)
        client.post_interactions(DATA.interactions[:2_000])
        running.start_trainer()
        eventually(
            lambda: client.recommendations(USER).snapshot is not None,
            "the first snapshot answers",
            timeout_s=60,
        )
        yield running
    finally:
        running.stop()


@pytest.fixture
def client(platform: Platform) -> Client:
    return Client(platform.api)


@pytest.fixture
def rollout(platform: Platform) -> EmbeddedRollout:
    return EmbeddedRollout(Home(platform.home).rollout(KEY))


def test_a_click_changes_the_answer_within_a_second(client: Client) -> None:
    before = client.recommendations(USER)
    clicked = before.items[0].item_id
    client.post_interactions([Interaction(user_id=USER, item_id=clicked)])
    eventually(
        lambda: clicked not in {item.item_id for item in client.recommendations(USER).items},
        "the clicked item is excluded",
        timeout_s=5.0,
    )


def test_a_promoted_candidate_becomes_stable_and_a_rollback_holds(
    platform: Platform, client: Client, rollout: EmbeddedRollout
) -> None:
    first = rollout.read()[1].stable
    client.post_interactions(DATA.interactions[2_000:2_400])
    eventually(lambda: rollout.read()[1].candidate is not None, "a candidate rolls")
    candidate = rollout.read()[1].candidate
    for number in range(2):  # past the shadow step, then to the end
        rollout.ask(Command(id=f"p{number}", verb=Verb.PROMOTE))
    eventually(lambda: rollout.read()[1].stable == candidate, "the candidate is stable")
    eventually(lambda: client.recommendations(USER).snapshot == candidate, "it answers")

    rollout.ask(Command(id="back", verb=Verb.ROLLBACK))
    eventually(lambda: rollout.read()[1].phase is Phase.HELD, "the rollback is done and holds")
    eventually(lambda: client.recommendations(USER).snapshot == first, "the earlier snapshot answers again")
    rollout.ask(Command(id="on", verb=Verb.RESUME))
    eventually(lambda: rollout.read()[1].phase is not Phase.HELD, "the hold ends")


def test_a_sabotaged_candidate_is_stopped_before_any_user_sees_it(
    platform: Platform, client: Client, rollout: EmbeddedRollout
) -> None:
    backing = Backing(settings_of(platform.home))
    eventually(lambda: rollout.read()[1].stable is not None, "something is stable")
    stable = rollout.read()[1].stable
    assert stable is not None
    name = sabotage(backing.snapshots(KEY), backing.catalog(KEY), stable, 1)
    eventually(lambda: rollout.read()[1].candidate == name, "it rolls")
    eventually(lambda: rollout.read()[1].weight == 0, "nobody is sent to it")
    late = iter(DATA.interactions[2_400:])
    weights = set()

    def streamed_until_rejected() -> bool:
        client.post_interactions([each for _, each in zip(range(20), late, strict=False)])
        state = rollout.read()[1]
        weights.add(state.weight)
        return state.aborted_reason(name) is not None

    eventually(streamed_until_rejected, "the gates stop it", timeout_s=60)
    assert weights == {0}


@pytest.mark.parametrize("service", ["api", "profiles", "trainer", "stable-0", "controller"])
def test_a_killed_service_comes_back_and_nothing_accepted_is_lost(
    platform: Platform, client: Client, service: str
) -> None:
    pid = platform.pids()[service]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: platform.pids()[service] not in (None, pid), f"{service} runs again")
    user, item = f"visitor-{service}", DATA.items[0].item_id

    def taken() -> bool:
        try:
            client.post_interactions([Interaction(user_id=user, item_id=item, event_id=f"after-{service}")])
        except ApiFailed:
            return False
        return True

    eventually(taken, "the API takes interactions")
    eventually(lambda: client.recommendations(user).strategy.startswith("personalized"), "they are applied")


def test_an_unreadable_record_is_dead_lettered_and_its_partition_moves_on(
    platform: Platform, client: Client
) -> None:
    from sluice.events import NewRecord, Partition

    log = Home(platform.home).log("shop")
    log.append("shop.interactions", [NewRecord(b"u", b'{"user_id": 7}')])
    letters = [Partition("shop.interactions.dlt", number) for number in range(2)]
    eventually(lambda: bool(log.read(dict.fromkeys(letters, 0), 10, 0)), "the dead letter is written")
    [letter] = log.read(dict.fromkeys(letters, 0), 10, 0)
    assert dict(letter.headers)["reason"] in (b"missing-field", b"bad-field")
    client.post_interactions([Interaction(user_id="u", item_id=DATA.items[1].item_id)])
    eventually(lambda: client.recommendations("u").strategy.startswith("personalized"), "the next one counts")


def test_a_second_platform_on_the_same_port_says_which_option_to_change(
    platform: Platform, tmp_path: Path
) -> None:
    from sluice.errors import InvalidSetting

    with pytest.raises(InvalidSetting, match=r"port \d+ .* --port"):
        Platform(tmp_path, platform.model_file, platform.port)
