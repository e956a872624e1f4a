"""Streams as they really come: repeated, in another order across partitions, under clocks that jump."""

import hypothesis.strategies as st
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings

from sluice.embedded.home import Home
from sluice.embedded.models import EmbeddedCatalog, EmbeddedEvidence, EmbeddedRouting
from sluice.events import NewRecord, Partition, StoredRecord
from sluice.model import RecommenderModel
from sluice.records import Forget, Interaction, encode
from sluice.snapshot.folder import FolderStore
from sluice.topics import topics_of
from sluice_trainer import planning
from sluice_trainer.journal import Plan
from sluice_trainer.loop import Loop
from sluice_trainer.trainer import Trainer, rules_of

TOPIC = topics_of("shop").interactions


def model(algorithm: str, **snapshots: object) -> RecommenderModel:
    document = {
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "RecommenderModel",
        "metadata": {"name": "m"},
        "spec": {
            "algorithm": {"type": algorithm},
            "snapshots": {"events": 1_000_000, "interval": "10h"} | snapshots,
        },
    }
    return msgspec.convert(document, RecommenderModel)


def events(count: int) -> list[Interaction]:
    chance = np.random.default_rng(4)
    return [
        Interaction(
            user_id=f"u{chance.integers(8)}", item_id=f"i{chance.integers(12)}", event_id=f"e{number}"
        )
        for number in range(count)
    ]


class Logs:
    """Two partitions, by user, and plans over them."""

    def __init__(self, stream) -> None:
        self.parts: list[list[StoredRecord]] = [[], []]
        for event in stream:
            number = int(event.user_id[1:]) % 2
            offset = len(self.parts[number])
            record = StoredRecord(Partition(TOPIC, number), offset, 1, b"k", encode(event))
            self.parts[number].append(record)

    def learned(self, made: RecommenderModel, steps) -> Trainer:
        """Learn all there is; each step takes so many records of each partition."""
        trainer, ends = Trainer(made, seed=1), [0, 0]
        takes = [(0, 0), *steps, tuple(len(part) for part in self.parts)]
        for sequence, take in enumerate(takes, start=1):
            records, ranges = [], {}
            for number, part in enumerate(self.parts):
                start, ends[number] = ends[number], min(ends[number] + take[number], len(part))
                records += part[start : ends[number]]
                ranges[number] = (start, ends[number])
            plan = Plan(
                sequence=sequence, ranges=ranges, now=0.0, rules=rules_of(made.spec), fit=sequence == 1
            )
            trainer.apply(plan, records, (None, None))
        return trainer


def known(trainer: Trainer) -> dict[str, object]:
    """What the trainer knows by id: rows are given in the order of arrival and may differ."""
    users, items = trainer.users.identifiers(), trainer.items.identifiers()
    rows = {user: row for row, user in enumerate(users) if user}
    recent, seen = {}, {}
    for user, row in rows.items():
        newest = trainer.recent.items[row]
        recent[user] = [items[item] for item in newest[newest >= 0]]
        seen[user] = {items[item] for item in trainer.seen.of(np.array([row], np.int32))[1]}
    recent = {user: each for user, each in recent.items() if each}
    seen = {user: each for user, each in seen.items() if each}
    counts = dict(zip(items, trainer.counts.tolist(), strict=True))
    return {"recent": recent, "seen": seen, "counts": counts}


def similarities(trainer: Trainer) -> dict[tuple[str, str], float]:
    part, items = trainer.content().parts["items"], trainer.items.identifiers()
    return {
        (items[row], items[other]): float(similarity)
        for row, (others, values) in enumerate(zip(part.rows, part.similarities, strict=True))
        for other, similarity in zip(others, values, strict=True)
        if other >= 0
    }


STEPS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12)


@pytest.mark.smoke
@settings(max_examples=40)
@given(STEPS, STEPS)
def test_whatever_the_arrival_across_partitions_users_counts_and_neighbours_end_the_same(one, other):
    """Within a partition order is the log's; across partitions it is the network's."""
    stream = events(60)
    stream[40] = Forget(user_id="u3")
    logs = Logs(stream)
    trainers = [logs.learned(model("CoVisitation"), steps) for steps in (one, other)]
    assert known(trainers[0]) == known(trainers[1])
    ours, theirs = map(similarities, trainers)
    assert ours == pytest.approx(theirs)
    counters = [
        (each.position.interactions, each.position.forgets, each.position.offsets) for each in trainers
    ]
    assert counters[0] == counters[1]


@pytest.mark.parametrize("algorithm", ["Popular", "CoVisitation"])
def test_a_stream_sent_twice_gives_the_state_of_one_sent_once(algorithm):
    stream = events(80)
    once = Logs(stream).learned(model(algorithm), [(5, 5)] * 4)
    twice = Logs([*stream[:50], *stream[:50], *stream[50:], *stream[50:]]).learned(
        model(algorithm), [(5, 5)] * 4
    )
    assert known(once) == known(twice)
    assert twice.position.duplicates == 80
    assert twice.position.interactions == once.position.interactions == 80
    for name, array in once.learner.state().items():
        assert (
            np.sort(array, axis=None).tobytes() == np.sort(twice.learner.state()[name], axis=None).tobytes()
        )


class Clock:
    """A wall clock that somebody sets, and one that nobody can."""

    def __init__(self) -> None:
        self.worked, self.wall = 0.0, 1.7e9

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.worked


@pytest.mark.smoke
@pytest.mark.parametrize(
    "jumps",
    [
        pytest.param({}, id="none"),
        pytest.param({10: -7 * 3600.0}, id="back"),
        pytest.param({10: 9 * 3600.0}, id="forward"),
        pytest.param({n: (-1) ** n * 5 * 3600.0 for n in range(60)}, id="to and fro"),
    ],
)
def test_a_clock_that_jumps_by_hours_neither_stops_snapshots_nor_lets_loose_a_storm(
    tmp_path, monkeypatch, jumps
):
    clock, home, made = Clock(), Home(tmp_path), model("CoVisitation", interval="60s")
    monkeypatch.setattr(planning, "time", clock)
    monkeypatch.setattr(planning, "POLL_S", 0.0)
    log, database = home.log("shop"), home.model(made.key)
    catalog = EmbeddedCatalog(database)
    loop = Loop(
        Trainer(made, seed=1),
        folder=tmp_path / "trainer",
        store=FolderStore(tmp_path / "store"),
        log=log,
        catalog=catalog,
        evidence=EmbeddedEvidence(database),
        routing=EmbeddedRouting(database),
        warmup_events=1,
        checkpoint_s=1e9,
    )
    for turn, event in enumerate(events(60)):
        log.append(TOPIC, [NewRecord(event.user_id.encode(), encode(event))])
        clock.worked += 10.0
        clock.wall += 10.0 + jumps.get(turn, 0.0)
        assert loop.turn()
    loop.close()
    assert 10 <= len(catalog.entries()) <= 11, "one a minute, for ten minutes"
