"""The trainer: what one plan does to it, against one event after the other."""

import math

import msgspec
import numpy as np
import pytest

from sluice.encoder import RECENT_LIMIT
from sluice.events import Partition, StoredRecord
from sluice.evidence import Paired
from sluice.model import RecommenderModel
from sluice.records import Forget, Interaction, encode
from sluice.routing import Routing
from sluice.snapshot import writer
from sluice.snapshot.unit import Unit
from sluice_trainer.contenders import Contender
from sluice_trainer.evaluation import MISS
from sluice_trainer.journal import Plan, Rules
from sluice_trainer.learners.protocol import NonFiniteLoss
from sluice_trainer.trainer import Trainer, rules_of

ROUTING = Routing(
    epoch=1, rollout="r1", stable="stable", candidate="candidate", weight=5, weight_epoch=4, renewed=0.0
)

RULES = Rules(cut_seconds=600.0, cut_events=100, metrics=("recall@10", "recall@20", "mrr"))


def model(algorithm: str = "CoVisitation", parameters=None, **spec) -> RecommenderModel:
    document = {
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "RecommenderModel",
        "metadata": {"name": "m"},
        "spec": {
            "algorithm": {"type": algorithm, "parameters": parameters or {}},
            "source": {"eventWeights": {"cart": "3"}},
        }
        | spec,
    }
    return msgspec.convert(document, RecommenderModel)


class Stream:
    """Numbers events as a log of one partition does and makes plans of them."""

    def __init__(self) -> None:
        self.offset = self.sequence = 0

    def plan(
        self, events, *, now=100.0, fit=False, routing: Routing | None = ROUTING, rules=RULES, elapsed=1.0
    ):
        start, self.sequence = self.offset, self.sequence + 1
        records = []
        for event in events:
            value = event if isinstance(event, bytes) else encode(event)
            records.append(StoredRecord(Partition("shop.interactions", 0), self.offset, 1, b"k", value))
            self.offset += 1
        ranges = {0: (start, self.offset)}
        made = Plan(
            sequence=self.sequence,
            ranges=ranges,
            now=now,
            elapsed=elapsed,
            rules=rules,
            fit=fit,
            routing=routing,
        )
        return made, records


def viewed(user: int, item: int, event: str = "view") -> Interaction:
    return Interaction(user_id=f"u{user}", item_id=f"i{item}", event=event)


def random_events(chance, n: int, users: int = 6, items: int = 25, forget: float = 0.0):
    made = []
    for _ in range(n):
        user, item = chance.integers(users), int(items * chance.random() ** 2)
        event = chance.choice(["view", "cart"])
        made.append(
            Forget(user_id=f"u{user}") if chance.random() < forget else viewed(user, item, str(event))
        )
    return made


def fitted(stream: Stream, algorithm: str = "CoVisitation", events=None, **spec) -> Trainer:
    trainer = Trainer(model(algorithm, **spec), seed=1)
    history = events if events is not None else random_events(np.random.default_rng(0), 300)
    trainer.apply(*stream.plan(history, fit=True, routing=None), (None, None))
    return trainer


def cut(trainer: Trainer, folder, name: str, offsets=None) -> Contender:
    provenance = {
        "id": name,
        "model": "default.m",
        "parent": None,
        "algorithm": "x",
        "parameters": {},
        "spec_hash": "",
        "seed": 0,
        "code_version": "",
        "created": 0.0,
        "offsets": offsets or {},
        "interactions": 0,
        "metrics": {},
    }
    writer.write(folder / name, trainer.content(), provenance)
    return Contender(Unit.open(folder / name, with_index=False))


def slow_rank(scores: dict[str, float], item: str, seen: set[str]) -> int:
    own = scores.get(item, math.nan)
    if not math.isfinite(own):
        return MISS
    return 1 + sum(value >= own for other, value in scores.items() if other != item and other not in seen)


class Oracle:
    """Evaluates one event after the other with dictionaries."""

    def __init__(self) -> None:
        self.recent: dict[str, list[tuple[str, float]]] = {}
        self.seen: dict[str, set[str]] = {}
        self.counts: dict[str, float] = {}
        self.ranks: list[tuple[int, int, int]] = []

    def scores(self, unit: Unit, user: str) -> dict[str, float]:
        newest = self.recent[user][::-1][:RECENT_LIMIT]
        rows = unit.items.ids.rows_of(item for item, _ in newest)[None, :]
        weights = np.array([[weight for _, weight in newest]], dtype=np.float32)
        scores = unit.items.scores(unit.encode_rows(rows, weights))[0]
        return dict(zip(unit.items.ids.all(), scores.tolist(), strict=True))

    def learn(self, batch, stable: Unit | None = None, candidate: Unit | None = None) -> None:
        """Popularity is that of before the batch (or of before a forget in it); the rest goes event by event."""
        counts = dict(self.counts)
        for event in batch:
            user = event.user_id
            if isinstance(event, Forget):
                self.recent[user], self.seen[user], counts = [], set(), dict(self.counts)
                continue
            item, seen = event.item_id, self.seen.setdefault(user, set())
            known = stable is not None and stable.items.ids.row_of(item) >= 0
            if known and self.recent.get(user) and item not in seen:
                served, rival = (self.scores(unit, user) for unit in (stable, candidate))
                popular = slow_rank(counts, item, seen) if counts.get(item, 0) > 0 else MISS
                self.ranks.append((slow_rank(rival, item, seen), slow_rank(served, item, seen), popular))
            weight = 3.0 if event.event == "cart" else 1.0
            self.recent.setdefault(user, []).append((item, weight))
            seen.add(item)
            self.counts[item] = self.counts.get(item, 0.0) + 1.0


@pytest.mark.parametrize("forget", [0.0, 0.05])
def test_evidence_and_window_are_those_of_one_event_after_the_other(tmp_path, forget):
    """Users and items come again and again within a batch, which is where a batch is easily wrong."""
    stream, chance, oracle = Stream(), np.random.default_rng(7), Oracle()
    history = random_events(chance, 150, users=25, items=25)
    trainer = fitted(stream, events=history)
    oracle.learn(history)
    stable = cut(trainer, tmp_path, "stable")
    later = random_events(chance, 100, users=25, items=30)
    trainer.apply(*stream.plan(later, routing=None), (None, None))
    oracle.learn(later)
    candidate = cut(trainer, tmp_path, "candidate")
    evidence = []
    for size in (1, 150, 2, 100):
        batch = random_events(chance, size, users=12, items=30, forget=forget)
        plan, records = stream.plan(batch)
        evidence += trainer.apply(plan, records, (stable, candidate)).evidence
        oracle.learn(batch, stable.unit, candidate.unit)
    assert len(oracle.ranks) > 15
    total = sum((row.paired["recall@10"] for row in evidence), Paired())
    within = [[float(rank <= 10) for rank in ranks] for ranks in oracle.ranks]
    ours, theirs, popular = (sum(column) for column in zip(*within, strict=True))
    assert (total.n, total.candidate, total.stable, total.popular) == (len(within), ours, theirs, popular)
    mrr = sum((row.paired["mrr"] for row in evidence), Paired())
    reciprocal = [[0.0 if rank == MISS else 1 / rank for rank in ranks] for ranks in oracle.ranks]
    for name, column in zip(("candidate", "stable", "popular"), zip(*reciprocal, strict=True), strict=True):
        assert getattr(mrr, name) == pytest.approx(sum(column)), name
    assert mrr.candidate_stable == pytest.approx(sum(c * s for c, s, _ in reciprocal))
    summary = trainer.window.summary()
    assert summary["samples"] == len(oracle.ranks)
    assert summary["mrr"] == pytest.approx(mrr.stable / mrr.n)
    assert summary["popular:mrr"] == pytest.approx(mrr.popular / mrr.n)


def test_evidence_is_keyed_by_its_offsets_so_that_a_replay_gives_the_same_rows(tmp_path):
    rows = []
    for again in range(2):
        stream, chance = Stream(), np.random.default_rng(3)
        trainer = fitted(stream)
        stable = cut(trainer, tmp_path / str(again), "stable")
        made = []
        for _ in range(3):
            batch = [*random_events(chance, 30), Forget(user_id="u1"), *random_events(chance, 30)]
            made += trainer.apply(*stream.plan(batch, now=5.0), (stable, stable)).evidence
        rows.append(made)
    assert rows[0] == rows[1]
    keys = {(row.rollout, row.snapshot, row.writer, row.sequence) for row in rows[0]}
    assert len(keys) == len(rows[0]) == 6
    assert {row.writer for row in rows[0]} == {"paired/default.m"}
    assert {(row.at, row.weight_epoch, row.rollout) for row in rows[0]} == {(5.0, 4, "r1")}


def test_without_a_stable_snapshot_nothing_is_evaluated_and_without_a_candidate_there_is_no_evidence(
    tmp_path,
):
    stream = Stream()
    trainer = fitted(stream)
    stable = cut(trainer, tmp_path, "stable")
    chance = np.random.default_rng(1)
    assert trainer.apply(*stream.plan(random_events(chance, 50)), (None, None)).evidence == []
    assert trainer.window.evaluated == 0
    assert trainer.apply(*stream.plan(random_events(chance, 50, users=12)), (stable, None)).evidence == []
    assert trainer.window.evaluated > 0


def test_what_either_contender_has_learned_is_no_evidence(tmp_path):
    stream = Stream()
    trainer = fitted(stream)
    end, topic = stream.offset, "shop.interactions"
    batch = [viewed(user, item) for item in range(25, 45) for user in range(6)]
    known = [viewed(99, item) for item in range(25, 45)]
    trainer.apply(*stream.plan(known), (None, None))
    begin = stream.offset
    plan, records = stream.plan(batch)
    early = cut(trainer, tmp_path, "early", {f"{topic}[0]": (0, end), f"{topic}[1]": (0, 10**9)})
    late = cut(trainer, tmp_path, "late", {f"{topic}[0]": (0, begin + 100), "other[0]": (0, 10**9)})
    for contest in ((early, late), (late, early)):
        again = Trainer(trainer.model, seed=1)
        again.restore(trainer.checkpoint())
        (row,) = again.apply(plan, records, contest).evidence
        assert row.paired["mrr"].n == again.window.evaluated == len(batch) - 100
    (row,) = trainer.apply(plan, records, (early, early)).evidence
    assert row.paired["mrr"].n == len(batch)


def test_popularity_counts_on_where_single_precision_would_stop():
    stream = Stream()
    trainer = fitted(stream)
    (row,) = trainer.items.add(["i3"])
    trainer.counts[row] = 1 << 24
    trainer.apply(*stream.plan([viewed(1, 3), viewed(2, 3)]), (None, None))
    assert trainer.counts[row] == (1 << 24) + 2
    other = Trainer(trainer.model, seed=1)
    other.restore(trainer.checkpoint())
    assert other.counts.tolist() == trainer.counts.tolist()


def test_the_metrics_of_prequential_gates_are_measured_too(tmp_path):
    gate = {"name": "g", "source": "Prequential", "metric": "recall@7", "min": "0.1"}
    stream = Stream()
    trainer = fitted(stream, rollout={"gates": [gate]})
    stable = cut(trainer, tmp_path, "stable")
    batch = random_events(np.random.default_rng(1), 60, users=12)
    plan, records = stream.plan(batch, rules=rules_of(trainer.model.spec))
    (row,) = trainer.apply(plan, records, (stable, stable)).evidence
    assert set(row.paired) == {"recall@7", "recall@10", "recall@20", "mrr"}


def state_of(trainer: Trainer) -> tuple:
    made = trainer.checkpoint()
    arrays = {name: (array.dtype, array.shape, array.tobytes()) for name, array in made.arrays.items()}
    return made.position, made.users, made.items, arrays


@pytest.mark.parametrize("algorithm", ["Popular", "CoVisitation", "GMF"])
def test_a_trainer_restored_from_a_checkpoint_ends_bit_equal(tmp_path, algorithm):
    spec = {"algorithm": algorithm, "parameters": {"dimension": 4} if algorithm == "GMF" else {}}
    stream, chance = Stream(), np.random.default_rng(5)
    one = fitted(stream, **spec)
    stable = cut(one, tmp_path, "stable")
    plans = [stream.plan(random_events(chance, 40, users=6 + n, items=25 + n, forget=0.02)) for n in range(9)]
    for plan in plans[:5]:
        one.apply(*plan, (stable, stable))
    other = Trainer(model(**spec), seed=1)
    other.restore(one.checkpoint())
    for plan in plans[5:]:
        one.apply(*plan, (stable, stable))
        other.apply(*plan, (stable, stable))
    assert state_of(one) == state_of(other)


def test_the_position_counts_every_record_once():
    stream = Stream()
    trainer = fitted(stream)
    repeated = Interaction(user_id="u1", item_id="i1", event_id="e1")
    batch = [viewed(1, 2), b"{", repeated, repeated, Forget(user_id="u2"), b"", viewed(3, 4)]
    trainer.apply(*stream.plan(batch), (None, None))
    trainer.apply(*stream.plan([repeated]), (None, None))
    position = trainer.position
    counted = (position.interactions, position.duplicates, position.rejected, position.forgets)
    assert counted == (303, 2, 2, 1)
    assert sum(counted) == stream.offset
    assert (position.offsets, position.began, position.sequence) == ({0: stream.offset}, {0: 0}, 3)


def test_a_forgotten_user_leaves_no_trace_in_the_histories():
    stream = Stream()
    trainer = fitted(stream)
    trainer.apply(*stream.plan([viewed(1, 3), Forget(user_id="u1"), Forget(user_id="never")]), (None, None))
    assert not {"u1", "never"} & set(trainer.users.identifiers())
    assert len(trainer.users) == 6, "no row is given for a forget, none is given twice"
    (row,) = np.flatnonzero([name == "" for name in trainer.users.identifiers()])
    assert (trainer.recent.items[row] == -1).all()
    assert len(trainer.seen.of(np.array([row], np.int32))[0]) == 0
    trainer.apply(*stream.plan([viewed(1, 3)]), (None, None))
    again = trainer.users.add(["u1"])
    assert again.tolist() == [6]
    assert len(trainer.seen.of(again)[0]) == 1


def test_a_first_training_never_sees_what_a_forget_in_it_voids():
    events = [viewed(1, 1), viewed(2, 2), Forget(user_id="u1"), viewed(2, 3)]
    trainer = fitted(Stream(), events=events)
    assert trainer.users.identifiers() == ["u2"]
    assert trainer.items.identifiers() == ["i2", "i3"]
    assert (trainer.position.interactions, trainer.position.forgets) == (3, 1)


def test_a_batch_that_the_learner_refuses_costs_that_batch_alone(monkeypatch):
    stream = Stream()
    trainer = fitted(stream)
    before = trainer.learner.state()

    def refuse(*_args):
        raise NonFiniteLoss("not finite")

    with monkeypatch.context() as patch:
        patch.setattr(trainer.learner, "learn", refuse)
        trainer.apply(*stream.plan([viewed(1, 2), viewed(1, 3)]), (None, None))
    assert trainer.position.offsets == {0: stream.offset}
    for name, array in trainer.learner.state().items():
        np.testing.assert_array_equal(array, before[name])
    trainer.apply(*stream.plan([viewed(1, 4)]), (None, None))
    assert trainer.position.interactions == 303


@pytest.mark.parametrize(
    ("waited", "fresh", "cut_before", "due"),
    [
        (0.0, 0, False, False),  # nothing new since the start
        (0.0, 1, False, True),  # the first one
        (0.0, 0, True, False),
        (1e9, 0, True, False),  # time alone cuts nothing
        (59.9, 1, True, False),
        (60.0, 1, True, True),  # the interval is over
        (0.0, 9, True, False),
        (0.0, 10, True, True),  # enough events
    ],
)
def test_when_a_snapshot_is_due(waited, fresh, cut_before, due):
    trainer = Trainer(model(snapshots={"interval": "60s", "events": 10}), seed=0)
    trainer.position = msgspec.structs.replace(
        trainer.position, fitted=True, interactions=50, cut_interactions=50, age=100.0
    )
    if cut_before:
        trainer.was_cut("s1")
    trainer.position = msgspec.structs.replace(trainer.position, interactions=50 + fresh, age=100.0 + waited)
    assert trainer.cut_due(rules_of(trainer.model.spec)) is due


def test_nothing_is_due_before_the_first_training():
    trainer = Trainer(model(), seed=0)
    trainer.position = msgspec.structs.replace(trainer.position, interactions=1_000_000, age=1e12)
    assert not trainer.cut_due(RULES)


def test_a_cut_is_noted_in_the_position():
    trainer = Trainer(model(), seed=0)
    trainer.position = msgspec.structs.replace(trainer.position, interactions=7, age=12.5)
    trainer.was_cut("s1")
    position = trainer.position
    assert (position.cut_snapshot, position.cut_age, position.cut_interactions, position.snapshots) == (
        "s1",
        12.5,
        7,
        1,
    )
