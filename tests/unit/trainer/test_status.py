"""What a trainer tells is its state, also after a restart from a checkpoint."""

import threading
import time
from typing import Any

import msgspec
import pytest

from sluice import metrics
from sluice.errors import StorageUnavailable
from sluice.events import Partition
from sluice.model import RecommenderModel
from sluice_trainer import status
from sluice_trainer.status import Ends, Exposition
from sluice_trainer.trainer import Trainer

STATUS: dict[str, Any] = {
    "topic": "shop.interactions",
    "interactions": 5_000,
    "rejected": 2,
    "refused": 1,
    "duplicates": 3,
    "snapshots": 4,
    "items": 514,
    "users": 198,
    "lags": {"0": 7, "1": 0},
    "quality": {
        "samples": 900.0,
        "recall@20": 0.2,
        "popular:recall@20": 0.1,
        "window:recall@20": 0.3,
        "window:popular:mrr": 0.05,
    },
}


@pytest.fixture
def shown() -> dict[tuple[str, ...], float]:
    families = Exposition(lambda: STATUS).collect()
    return {
        (sample.name, *sample.labels.values()): sample.value for each in families for sample in each.samples
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ((metrics.EVENTS_LEARNED,), 5_000),
        ((metrics.EVALUATED,), 900),
        ((metrics.EVENTS_REJECTED, "shop.interactions", "unreadable"), 2),
        ((metrics.EVENTS_REJECTED, "shop.interactions", "not-finite"), 1),
        ((metrics.EVENTS_REPEATED, "shop.interactions"), 3),
        ((metrics.SNAPSHOTS_CUT,), 4),
        ((metrics.LAG, "shop.interactions", "0"), 7),
        ((metrics.ROWS, "users"), 198),
        ((metrics.QUALITY, "recall@20", "served", "all"), 0.2),
        ((metrics.QUALITY, "recall@20", "popular", "all"), 0.1),
        ((metrics.QUALITY, "recall@20", "served", "newest"), 0.3),
        ((metrics.QUALITY, "mrr", "popular", "newest"), 0.05),
    ],
)
def test_state_as_metrics(shown: dict[tuple[str, ...], float], key: tuple[str, ...], value: float) -> None:
    assert shown[key] == value


PARTITION = Partition("shop.interactions", 0)
MODEL = {
    "apiVersion": "sluice.dev/v1alpha1",
    "kind": "RecommenderModel",
    "metadata": {"name": "m"},
    "spec": {"algorithm": {"type": "Popular"}},
}


class Log:
    """Answers with ``end``, waits until it is ``back``, or says that it is away."""

    def __init__(self) -> None:
        self.end, self.away, self.asked = 3, False, 0
        self.back = threading.Event()
        self.back.set()

    def ends(self) -> dict[Partition, int]:
        self.asked += 1
        assert self.back.wait(30.0)
        if self.away:
            raise StorageUnavailable("no broker answers")
        return {PARTITION: self.end}


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    monkeypatch.setattr(status, "WAIT_S", 0.02)
    return Log()


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch, log: Log) -> Log:
    monkeypatch.setattr(status, "WAIT_S", 30.0)
    return log


def test_each_scrape_sees_the_log_as_it_is(answering: Log) -> None:
    ends = Ends(answering.ends)
    assert ends.now() == {PARTITION: 3}
    answering.end = 4
    assert ends.now() == {PARTITION: 4}


def test_a_log_that_is_away_leaves_the_ends_as_they_were(answering: Log) -> None:
    ends = Ends(answering.ends)
    assert ends.now() == {PARTITION: 3}
    answering.away = True
    assert ends.now() == {PARTITION: 3}


def test_a_scrape_does_not_wait_for_a_log_that_does_not_answer_and_asks_it_once(log: Log) -> None:
    ends = Ends(log.ends)
    log.back.clear()
    began = time.monotonic()
    assert [ends.now() for _ in range(5)] == [None] * 5
    assert time.monotonic() - began < 5.0
    assert log.asked == 1
    log.back.set()
    deadline = time.monotonic() + 30.0
    while ends.now() is None:
        assert time.monotonic() < deadline


def test_without_ends_the_lag_is_not_known_and_no_scrape_fails() -> None:
    trainer = Trainer(msgspec.convert(MODEL, RecommenderModel), 0)
    told = status.describe(trainer, None)
    assert (told["lag"], told["lags"]) == (None, {})
    assert status.describe(trainer, {PARTITION: 3})["lag"] == 3
    by_name = {each.name: each for each in Exposition(lambda: told).collect()}
    assert by_name[metrics.LAG].samples == []
