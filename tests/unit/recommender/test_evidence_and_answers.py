"""Counting requests, writing evidence and answers, and following the routing: nothing is lost or doubled."""

import threading

import pytest
from structlog.testing import capture_logs

from sluice.evidence import add_up
from sluice.records import Answer
from sluice_recommender.api.outbox import BATCH, Outbox
from sluice_recommender.api.routes import Deal, RoutingTable
from sluice_recommender.api.tally import Tally, TallyWriter


@pytest.fixture
def evidence(fakes):
    return fakes.RecordingEvidence()


@pytest.fixture
def rolling(fakes):
    return fakes.routing(candidate="s2", weight=5, weight_epoch=7)


@pytest.fixture
def tally():
    return Tally("requests/host-1-2")


def totals(evidence, weight_epoch=7):
    return add_up(evidence.rows.values(), weight_epoch)


def dealt(routing, snapshot):
    return Deal("candidate", snapshot, "s1", routing.rollout, routing.weight_epoch)


def test_counts_are_increments_by_snapshot_and_weight_given(tally, evidence, rolling, fakes):
    writer = TallyWriter(tally, evidence, lambda: rolling, lambda: fakes.NOW)
    for _ in range(2):
        tally.count(dealt(rolling, "s1"), error=False, milliseconds=3.0)
        tally.count(dealt(rolling, "s2"), error=True, milliseconds=3_000.0)
        writer.flush()
    requests = totals(evidence).requests
    assert (requests["s1"].n, requests["s1"].errors, requests["s1"].slower_than(50)) == (2, 0, 0)
    assert (requests["s2"].n, requests["s2"].errors, requests["s2"].slower_than(50)) == (2, 2, 2)
    assert totals(evidence, weight_epoch=8).requests == {}


def test_a_request_counts_under_what_it_was_dealt_not_under_what_is_in_force_when_it_ends(
    tally, evidence, fakes
):
    routes = RoutingTable(
        fakes.FixedRouting(fakes.routing(candidate="s2", weight=100, weight_epoch=7)), clock=lambda: fakes.NOW
    )
    routes.poll()
    early = routes.deal("u")
    routes.current = fakes.routing(epoch=9, rollout="r2", candidate="s3", weight=100, weight_epoch=9)
    tally.count(early, error=False, milliseconds=1.0)
    (row,) = tally.take(routes.current, fakes.NOW)
    assert (row.rollout, row.snapshot, row.weight_epoch) == ("r1", "s2", 7)


def test_without_a_candidate_requests_are_not_evidence(tally, fakes):
    routes = RoutingTable(fakes.FixedRouting(fakes.routing(rollout="r1")), clock=lambda: fakes.NOW)
    routes.poll()
    tally.count(routes.deal("u"), error=False, milliseconds=1.0)
    assert tally.take(routes.current, fakes.NOW) == []


def test_a_busy_store_gets_the_same_rows_again(tally, evidence, rolling, fakes):
    writer = TallyWriter(tally, evidence, lambda: rolling, lambda: fakes.NOW)
    evidence.down = True
    for _ in range(3):
        tally.count(dealt(rolling, "s2"), error=False, milliseconds=1.0)
        writer.flush()
    evidence.down = False
    writer.flush()
    writer.flush()
    assert totals(evidence).requests["s2"].n == 3


def test_without_requests_a_heartbeat_tells_that_the_writer_lives(tally, evidence, rolling, fakes):
    TallyWriter(tally, evidence, lambda: rolling, lambda: fakes.NOW).flush()
    assert totals(evidence).requests_at == fakes.NOW
    assert totals(evidence).requests == {}


def test_without_candidate_there_is_nothing_to_write(tally, evidence, fakes):
    TallyWriter(tally, evidence, lambda: fakes.routing(), lambda: fakes.NOW).flush()
    assert evidence.rows == {}


def answer(number):
    return Answer(request_id=str(number), user_id="u", model="m", snapshot="s", items=("a",), ts=1)


def test_answers_wait_for_the_log_in_their_order(fakes):
    log = fakes.RecordingLog()
    outbox = Outbox(log, "shop.answers")
    for number in range(BATCH + 2):
        outbox.put(answer(number))
    log.down = True
    outbox.flush()
    log.down = False
    outbox.flush()
    ids = [record.value.split(b'"')[3].decode() for _, record in log.records]
    assert ids == [str(number) for number in range(BATCH + 2)]


def test_a_full_queue_drops_answers_instead_of_making_requests_wait(fakes):
    log = fakes.RecordingLog()
    outbox = Outbox(log, "shop.answers", capacity=2)
    for number in range(5):
        outbox.put(answer(number))
    outbox.flush()
    assert len(log.records) == 2


def test_while_an_append_is_under_way_answers_are_still_taken_and_none_is_sent_twice(fakes):
    outbox = Outbox(fakes.RecordingLog(), "shop.answers")

    class BusyLog(fakes.RecordingLog):
        """Gets another answer, and is asked to flush by another thread, while it appends the first one."""

        def append(self, topic, records):
            if not self.records:
                outbox.put(answer("meanwhile"))
                other.start()
            super().append(topic, records)

    log = outbox._log = BusyLog()
    other = threading.Thread(target=outbox.flush)
    outbox.put(answer("first"))
    outbox.flush()
    other.join(10.0)
    ids = [record.value.split(b'"')[3].decode() for _, record in log.records]
    assert ids == ["first", "meanwhile"]


def test_what_still_waits_at_the_end_is_told(fakes):
    log = fakes.RecordingLog()
    log.down, outbox = True, Outbox(log, "shop.answers")
    outbox.put(answer(1))
    outbox.flush()
    with capture_logs() as lines:
        outbox.give_up()
    assert [(line["event"], line["answers"]) for line in lines] == [("answers may be lost", 1)]


def test_routing_never_goes_back(fakes):
    store = fakes.FixedRouting(fakes.routing(epoch=2, stable="s2"))
    routes = RoutingTable(store, clock=lambda: fakes.NOW)
    assert routes.deal("u") is None
    routes.poll()
    for older in (fakes.routing(epoch=1), None):
        store.routing = older
        routes.poll()
        assert routes.deal("u").snapshot == "s2"


def test_a_candidate_ends_with_its_renewals(fakes):
    now = [fakes.NOW]
    routes = RoutingTable(fakes.FixedRouting(fakes.routing(candidate="s2", weight=100)), clock=lambda: now[0])
    routes.poll()
    assert routes.deal("u")[:2] == ("candidate", "s2")
    now[0] += 121
    assert routes.deal("u")[:2] == ("stable", "s1")


def test_nobody_answers_without_a_stable_snapshot(fakes):
    routes = RoutingTable(fakes.FixedRouting(fakes.routing(stable=None)), clock=lambda: fakes.NOW)
    routes.poll()
    assert routes.deal("u") is None
