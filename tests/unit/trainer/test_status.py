"""What a trainer tells is its state, also after a restart from a checkpoint."""

from typing import Any

import pytest

from sluice import metrics
from sluice_trainer.status import Exposition

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
