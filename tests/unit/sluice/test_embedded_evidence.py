"""The embedded evidence store keeps running sums: what it reads, and that they equal a sum of all rows."""

import random
from pathlib import Path
from typing import Any

import pytest

from sluice.embedded.database import Database
from sluice.embedded.models import EmbeddedEvidence, model_database
from sluice.evidence import EvidenceRow, EvidenceTotals, Hits, Paired, Requests, add_up


class CountingDatabase:
    """A model's database that counts the rows it hands out."""

    def __init__(self, path: Path) -> None:
        self._database = model_database(path)
        self.handed_out = 0

    def read(self, *arguments: Any) -> list[Any]:
        rows = self._database.read(*arguments)
        self.handed_out += len(rows)
        return rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


@pytest.fixture
def database(tmp_path: Path) -> Any:
    return CountingDatabase(tmp_path / "model.db")


def row(number: int, rollout: str = "r1", **fields: Any) -> EvidenceRow:
    made = {"rollout": rollout, "snapshot": "s", "writer": "paired/m", "sequence": str(number), "at": number}
    return EvidenceRow(**(made | fields))


def test_each_row_is_read_once_however_often_the_totals_are_asked(database: Any) -> None:
    evidence = EmbeddedEvidence(database)
    for number in range(200):
        evidence.append([row(2 * number + k, paired={"mrr": Paired(n=1)}) for k in (0, 1)])
        for _ in range(3):
            assert evidence.totals("r1", 0).paired["mrr"].n == 2 * (number + 1)
    assert database.handed_out == 400


def test_another_rollout_begins_anew_and_coming_back_counts_nothing_twice(database: Any) -> None:
    evidence = EmbeddedEvidence(database)
    evidence.append([row(1, paired={"mrr": Paired(n=1)}), row(1, "r2", paired={"mrr": Paired(n=5)})])
    seen = [evidence.totals(rollout, 0).paired["mrr"].n for rollout in ("r1", "r2", "r1", "r1")]
    assert seen == [1, 5, 1, 1]


def test_rows_that_another_process_purged_are_forgotten(database: Any, tmp_path: Path) -> None:
    evidence, other = EmbeddedEvidence(database), EmbeddedEvidence(Database(tmp_path / "model.db", ""))
    evidence.append([row(1, paired={"mrr": Paired(n=1)})])
    assert evidence.totals("r1", 0).paired["mrr"].n == 1
    other.purge(set())
    assert evidence.totals("r1", 0) == EvidenceTotals()
    other.append([row(1, paired={"mrr": Paired(n=7)})])
    assert evidence.totals("r1", 0).paired["mrr"].n == 7


def any_row(chance: random.Random) -> EvidenceRow:
    """Return a random row of few keys, so that keys repeat."""
    kind = chance.choice(["paired", "requests", "hits"])
    n = chance.randrange(1, 9)
    statistics = {
        "paired": {"paired": {"mrr": Paired(n=n, candidate=n / 4)}},
        "requests": {"requests": Requests(n=n, errors=n // 2), "weight_epoch": chance.choice([3, 5])},
        "hits": {"hits": Hits(users=n, answers=n, hits=n // 2)},
    }[kind]
    return row(
        chance.randrange(12),
        chance.choice(["r1", "r2"]),
        snapshot=chance.choice(["s1", "s2"]),
        writer=f"{kind}/{chance.randrange(2)}",
        at=float(chance.randrange(30)),
        **statistics,
    )


@pytest.mark.parametrize("seed", range(8))
def test_running_sums_equal_the_sum_of_all_rows(tmp_path: Path, seed: int) -> None:
    """Several stores append, purge, ask and are opened anew in any order; a dictionary is the model."""
    chance = random.Random(seed)
    stores = [EmbeddedEvidence(model_database(tmp_path / "model.db")) for _ in range(3)]
    kept: dict[tuple[str, ...], EvidenceRow] = {}
    for _ in range(120):
        store, does = chance.randrange(3), chance.random()
        if does < 0.5:
            rows = [any_row(chance) for _ in range(chance.randrange(1, 5))]
            stores[store].append(rows)
            for each in rows:
                kept.setdefault((each.rollout, each.snapshot, each.writer, each.sequence), each)
        elif does < 0.55:
            keep = {chance.choice(["r1", "r2"])}
            stores[store].purge(keep)
            kept = {key: each for key, each in kept.items() if each.rollout in keep}
        elif does < 0.6:
            stores[store] = EmbeddedEvidence(model_database(tmp_path / "model.db"))
        else:
            rollout, given = chance.choice(["r1", "r2"]), chance.choice([3, 5])
            expected = add_up([each for each in kept.values() if each.rollout == rollout], given)
            assert stores[store].totals(rollout, given) == expected
