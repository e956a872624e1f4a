"""The routing port: the last word of the highest epoch."""

import contextlib

import pytest

from sluice.errors import StaleEpoch
from sluice.routing import Routing


def routing(epoch: int, weight: int = 0, **fields) -> Routing:
    made = {"rollout": "r1", "stable": "s1", "candidate": "s2", "renewed": 100.0}
    return Routing(epoch=epoch, weight=weight, **(made | fields))


def test_there_is_no_routing_at_first(routing_store):
    assert routing_store.read() is None


@pytest.mark.parametrize(
    "published",
    [
        routing(1, 5),
        routing(0, stable=None, candidate=None, rollout=""),
        routing(2**40, 100, renewed=1_700_000_000.25, rollout="ü"),
        routing(3, 50, weight_epoch=2, since=1_700_000_000.5),
    ],
)
def test_what_is_published_is_read_back_whole(routing_port, routing_store, published):
    routing_store.publish(published)
    assert routing_store.read() == published
    assert routing_port.open().read() == published


def test_a_lower_epoch_is_refused_and_changes_nothing(routing_port, routing_store):
    routing_store.publish(routing(7, 50))
    for epoch in (6, 0):
        with pytest.raises(StaleEpoch):
            routing_port.open().publish(routing(epoch, 5, renewed=999.0))
    assert routing_store.read() == routing(7, 50)


def test_the_same_epoch_may_renew_and_a_higher_one_replace(routing_store):
    for each in (routing(7, 50), routing(7, 50, renewed=130.0), routing(9, 0, candidate=None)):
        routing_store.publish(each)
        assert routing_store.read() == each


def test_of_publishers_at_once_the_highest_epoch_has_the_last_word(routing_port, at_once):
    openers = [routing_port.open() for _ in range(4)]

    def work(start: int) -> None:
        for epoch in range(start, 80, 4):
            with contextlib.suppress(StaleEpoch):
                openers[start].publish(routing(epoch, weight=epoch))

    assert at_once(*[lambda start=start: work(start) for start in range(4)]) == [None] * 4
    assert routing_port.open().read() == routing(79, weight=79)
