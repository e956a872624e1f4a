"""An experiment between models, credited end to end: from what the log holds to the hits of each model."""

import time
from pathlib import Path

import pytest

from sluice.embedded.home import Home
from sluice.embedded.models import EmbeddedEvidence, EmbeddedRouting
from sluice.embedded.sources import EmbeddedItems, EmbeddedPopularity, EmbeddedProfiles
from sluice.events import NewRecord
from sluice.evidence import Hits
from sluice.experiment import Dealt, Experiment, parse
from sluice.records import Answer, Forget, Interaction, encode
from sluice.topics import topics_of
from sluice_recommender.profiles.credit import Credit, CreditedModel
from sluice_recommender.profiles.ledger import Ledger
from sluice_recommender.profiles.log_time import Clocks
from sluice_recommender.profiles.process import ProfilesProcess, Stores

TOPICS = topics_of("shop")
MODELS = ("default.home", "default.home-als")
WINDOW_MS = 60_000
DAY_S = 86_400


def experiment(began_s: float) -> Experiment:
    day = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began_s))
    made = parse(f"als@{day}: home=50, home-als=50", MODELS)
    assert made is not None
    return made


class World:
    """Two models over one source, and an experiment between them; time goes on when it is told to."""

    def __init__(self, folder: Path, tried: Experiment) -> None:
        self.folder, self.home, self.tried, self.ahead_s = folder, Home(folder), tried, 0.0
        self.log, self.database = self.home.log("shop"), self.home.source("shop")
        self.evidence = EmbeddedEvidence(self.home.model("experiment.als"))

    def process(self, ledger: str = "ledger") -> ProfilesProcess:
        kept = Ledger(self.folder / f"{ledger}.db", TOPICS)
        credited = [self.model(key) for key in MODELS]
        rollout, dealt = self.tried.rollout, Dealt(self.tried)
        credited.append(CreditedModel(rollout, WINDOW_MS, dealt, self.evidence, self.tried))
        stores = Stores(
            EmbeddedProfiles(self.database),
            EmbeddedPopularity(self.database),
            EmbeddedItems(self.database),
            kept,
        )
        clocks = Clocks(lambda: time.time() + self.ahead_s, lambda: time.monotonic() + self.ahead_s)
        credit = Credit(kept, credited, TOPICS.answers)
        return ProfilesProcess(self.log, "shop", {}, stores, credit, clocks)

    def model(self, key: str) -> CreditedModel:
        model = self.home.model(key)
        return CreditedModel(key, WINDOW_MS, EmbeddedRouting(model), EmbeddedEvidence(model))

    def answer(self, user: str, number: int = 0, name: str = "als") -> None:
        """Let the model that the user is dealt to answer."""
        given = Answer(
            request_id=f"{user} {number}",
            user_id=user,
            model=self.tried.model_for(user),
            snapshot="s1",
            items=("a", "b"),
            ts=int(time.time() * 1e3),
            experiment=name,
        )
        self.log.append(TOPICS.answers, [NewRecord(user.encode(), encode(given))])

    def send(self, record: Interaction | Forget) -> None:
        self.log.append(TOPICS.interactions, [NewRecord(record.user_id.encode(), encode(record))])

    def work(self, process: ProfilesProcess) -> None:
        """Read to the end, let the window pass and credit."""
        while process.step(0.0):
            pass
        self.ahead_s += WINDOW_MS / 1e3 + 60
        process.step(0.0)
        process.credit()

    def hits(self) -> dict[str, Hits]:
        return self.evidence.totals("experiment/als", 0).hits

    def dealt(self, model: str, count: int) -> list[str]:
        """Return so many users who are dealt to a model."""
        users = (f"u{number}" for number in range(1_000))
        return [user for user in users if self.tried.model_for(user) == model][:count]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, experiment(time.time() - DAY_S))


def test_hits_of_each_model_come_to_the_evidence_of_the_experiment(world: World) -> None:
    first, second = (world.dealt(model, 3) for model in MODELS)
    for user in (*first, *second):
        world.answer(user)
        world.answer(user, 1)
    for user in second:
        world.send(Interaction(user_id=user, item_id="a", request_id=f"{user} 0"))
    world.send(Interaction(user_id=first[0], item_id="b"))
    world.work(world.process())
    hits = world.hits()
    counted = {model: (each.users, each.answers, each.hits) for model, each in hits.items()}
    assert counted == {MODELS[0]: (3, 6, 1), MODELS[1]: (3, 6, 3)}
    for model in MODELS:
        assert world.model(model).evidence.totals("experiment/als", 0).hits == {}


def test_answers_outside_of_the_experiment_do_not_count(world: World) -> None:
    [user] = world.dealt(MODELS[0], 1)
    world.answer(user, 0, name="")
    world.answer(user, 1, name="another")
    world.work(world.process())
    assert world.hits() == {}


def test_answers_given_before_it_began_do_not_count(tmp_path: Path) -> None:
    world = World(tmp_path, experiment(time.time() + 30))
    world.answer("u")
    world.work(world.process())
    assert world.hits() == {}


def test_who_takes_the_counting_over_counts_the_same(world: World) -> None:
    users = [user for model in MODELS for user in world.dealt(model, 2)]
    for user in users:
        world.answer(user)
        world.send(Interaction(user_id=user, item_id="a"))
    process = world.process()
    world.work(process)
    before = world.hits()
    process.close()
    world.work(world.process("another"))
    assert world.hits() == before
    assert sum(each.hits for each in before.values()) == len(users)


@pytest.mark.parametrize("judged_first", [True, False])
def test_a_user_who_is_forgotten_speaks_for_no_model(world: World, judged_first: bool) -> None:
    gone, stays = world.dealt(MODELS[0], 2)
    for user in (gone, stays):
        world.answer(user)
    process = world.process()
    if judged_first:
        world.work(process)
        assert world.hits()[MODELS[0]].users == 2
    world.send(Forget(user_id=gone))
    world.work(process)
    assert {model: each.users for model, each in world.hits().items() if each.users} == {MODELS[0]: 1}
