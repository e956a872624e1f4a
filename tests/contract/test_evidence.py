"""The evidence port: what writers say, added up per rollout, each piece once."""

import random

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from sluice.evidence import (
    LATENCY_BOUNDS_MS,
    EvidenceRow,
    EvidenceTotals,
    Hits,
    Paired,
    Requests,
    latency_bucket,
)


def requests(n: int, errors: int = 0, bucket: int = 3) -> Requests:
    latency = [0] * (len(LATENCY_BOUNDS_MS) + 1)
    latency[bucket] = n
    return Requests(n=n, errors=errors, latency=tuple(latency))


def row(sequence: object, at: float = 1.0, writer: str = "requests/p1", **fields) -> EvidenceRow:
    return EvidenceRow(
        **(
            {"rollout": "r1", "snapshot": "s1", "writer": writer, "sequence": str(sequence), "at": at}
            | fields
        )
    )


def test_no_evidence_adds_up_to_nothing(evidence):
    assert evidence.totals("r1", 5) == EvidenceTotals()


def test_increments_of_all_writers_are_added_by_snapshot(evidence):
    evidence.append(
        [
            row(1, requests=requests(10, 1), weight_epoch=5),
            row(2, requests=requests(20, 2, bucket=0), weight_epoch=5),
            row(1, writer="requests/p2", requests=requests(5), weight_epoch=5),
            row(1, snapshot="s2", requests=requests(7), weight_epoch=5),
        ]
    )
    totals = evidence.totals("r1", 5)
    assert set(totals.requests) == {"s1", "s2"}
    assert (totals.requests["s1"].n, totals.requests["s1"].errors) == (35, 3)
    assert totals.requests["s1"].latency[:4] == (20, 0, 0, 15)
    assert totals.requests["s2"] == requests(7)


def test_large_counts_add_up_exactly(evidence_port, evidence):
    for sequence in range(3):
        evidence_port.open().append([row(sequence, requests=requests(2**31), weight_epoch=2**40)])
    totals = evidence.totals("r1", 2**40)
    assert totals.requests["s1"] == requests(3 * 2**31)
    assert msgspec.json.encode(totals)


def test_a_key_is_counted_once_and_its_first_row_stays(evidence_port, evidence):
    first = row(1, requests=requests(10))
    evidence.append([first, first])
    evidence.append([row(1, at=99.0, requests=requests(1_000))])
    evidence_port.open().append([first, row(2, requests=requests(1))])
    totals = evidence.totals("r1", 0)
    assert totals.requests["s1"].n == 11
    assert totals.requests_at == 1.0


@pytest.mark.parametrize(
    "changed", [{"rollout": "r2"}, {"snapshot": "s2"}, {"writer": "paired/other"}, {"sequence": "0:2-3"}]
)
def test_rows_that_differ_in_one_part_of_the_key_are_two(evidence, changed):
    key = {"rollout": "r1", "snapshot": "s1", "writer": "paired/m", "sequence": "0:1-2"}
    for fields in (key, key | changed):
        evidence.append([EvidenceRow(at=1.0, paired={"mrr": Paired(n=1)}, **fields)])
    expected = 1 if "rollout" in changed else 2
    assert evidence.totals("r1", 0).paired["mrr"].n == expected


def test_requests_count_only_since_the_asked_weight_was_given_and_quality_over_the_whole_rollout(evidence):
    for weight in (0, 5, 50):
        evidence.append(
            [
                row(weight, requests=requests(10 + weight), weight_epoch=weight),
                row(
                    weight, writer="paired/m", paired={"mrr": Paired(n=3, candidate=1.5)}, weight_epoch=weight
                ),
            ]
        )
    assert evidence.totals("r1", 5).requests["s1"].n == 15
    assert evidence.totals("r1", 50).requests["s1"].n == 60
    assert evidence.totals("r1", 7).requests == {}
    assert evidence.totals("r1", 5).paired["mrr"] == Paired(n=9, candidate=4.5)


def test_paired_sums_are_kept_by_metric(evidence):
    first = Paired(n=2, candidate=1, stable=0.5, popular=0.25, candidate_squared=1, candidate_stable=0.5)
    second = Paired(n=1, candidate=0.5, stable_squared=0.25, popular_squared=0.5, candidate_popular=2)
    evidence.append([row("0:0-2", writer="paired/m", paired={"recall@20": first, "mrr": first})])
    evidence.append([row("0:2-3", writer="paired/m", paired={"recall@20": second})])
    totals = evidence.totals("r1", 0)
    assert totals.paired["mrr"] == first
    assert totals.paired["recall@20"] == Paired(
        n=3,
        candidate=1.5,
        stable=0.5,
        popular=0.25,
        candidate_squared=1,
        stable_squared=0.25,
        popular_squared=0.5,
        candidate_stable=0.5,
        candidate_popular=2,
    )


def test_hits_are_cumulative_so_the_row_of_each_writer_that_has_come_furthest_counts(evidence):
    def hits(n: int) -> Hits:
        return Hits(users=n, answers=2 * n, hits=n, answers_squared=4.0 * n, hits_squared=n, answers_hits=n)

    evidence.append(
        [
            row("answers[0]:9.4", at=30.0, writer="hits/0", hits=hits(5)),  # its clock was ahead just then
            row("answers[0]:10.4", at=4.0, writer="hits/0", hits=hits(7)),
            row("answers[0]:10.5", at=4.0, writer="hits/0", hits=hits(6)),  # somebody was forgotten
            row("answers[1]:1.0", at=9.0, writer="hits/1", hits=hits(2)),
            row("answers[1]:0.0", at=8.0, writer="hits/1", hits=hits(1)),
            row("answers[1]:1.0", at=2.0, writer="hits/1", snapshot="s2", hits=hits(4)),
        ]
    )
    totals = evidence.totals("r1", 50)
    assert totals.hits == {"s1": hits(8), "s2": hits(4)}


def test_a_clock_that_was_ahead_is_forgotten_with_the_next_row(evidence):
    evidence.append([row(1, at=9_000.0, writer="hits/0"), row(1, at=9_000.0, requests=requests(1))])
    assert evidence.totals("r1", 0).hits_at == evidence.totals("r1", 0).requests_at == 9_000.0
    evidence.append([row(2, at=5.0, writer="hits/1"), row(2, at=6.0, requests=requests(1))])
    totals = evidence.totals("r1", 0)
    assert (totals.hits_at, totals.requests_at, totals.requests["s1"].n) == (5.0, 6.0, 2)


def test_a_heartbeat_counts_nothing_but_tells_that_its_kind_of_writer_lives(evidence):
    evidence.append([row(1, at=5.0, writer="hits/0"), row(2, at=7.0, writer="hits/0")])
    assert evidence.totals("r1", 0) == EvidenceTotals(hits_at=7.0)
    evidence.append([row(1, at=6.0, writer="paired/m"), row(1, at=4.0, writer="requests/p")])
    assert evidence.totals("r1", 0) == EvidenceTotals(hits_at=7.0, paired_at=6.0, requests_at=4.0)


def test_rollouts_are_apart_and_purging_deletes_all_but_the_named(evidence_port, evidence):
    for rollout in ("r1", "r2", "r3"):
        evidence.append([row(1, rollout=rollout, requests=requests(3))])
    evidence.purge({"r2", "unknown"})
    again = evidence_port.open()
    assert again.totals("r1", 0) == again.totals("r3", 0) == EvidenceTotals()
    assert again.totals("r2", 0).requests["s1"].n == 3
    evidence.purge(set())
    assert evidence.totals("r2", 0) == EvidenceTotals()


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_end_of_what_a_writer_said_appended_again_changes_nothing(evidence_port, data):
    rows = [
        row(number, requests=requests(number, bucket=number % 5), weight_epoch=number // 7)
        for number in range(1, data.draw(st.integers(1, 16)))
    ]
    rows += [plan((0, 10 * n, 10 * n + 10), n=n) for n in range(1, data.draw(st.integers(1, 6)))]
    rows += [
        row(f"a:{n}.0", writer="hits/0", hits=Hits(users=n)) for n in range(data.draw(st.integers(0, 4)))
    ]
    evidence = evidence_port.elsewhere()
    _append_in_batches(evidence, rows, data)
    expected = [evidence.totals("r1", epoch) for epoch in range(3)]
    assert sum(sum(each.n for each in totals.requests.values()) for totals in expected) == sum(
        each.requests.n for each in rows if each.requests
    )
    for _ in range(2):
        _append_in_batches(evidence, rows[data.draw(st.integers(0, len(rows))) :], data)
        assert [evidence.totals("r1", epoch) for epoch in range(3)] == expected


def _append_in_batches(evidence, rows, data):
    while rows:
        size = data.draw(st.integers(1, len(rows)))
        evidence.append(rows[:size])
        rows = rows[size:]


def plan(*ranges: tuple[int, int, int], n: int, **fields) -> EvidenceRow:
    """What a trainer says of the events in ranges of partitions."""
    sequence = ",".join(f"{part}:{start}-{end}" for part, start, end in ranges)
    return row(sequence, writer="paired/m", paired={"mrr": Paired(n=n)}, **fields)


def test_a_second_trainer_that_cuts_the_same_offsets_into_other_plans_counts_nothing_twice(evidence):
    evidence.append([plan((0, 0, 100), (1, 50, 80), n=7), plan((0, 100, 150), n=5)])
    for again in (
        plan((0, 0, 150), (1, 50, 80), n=90),
        plan((0, 149, 200), n=90),
        plan((0, 150, 200), (1, 70, 90), n=90),  # one partition of two overlaps
        plan((0, 120, 130), n=90, weight_epoch=8),
    ):
        evidence.append([again])
        assert evidence.totals("r1", 0).paired["mrr"].n == 12
    evidence.append([plan((0, 150, 200), (1, 80, 90), n=1), plan((2, 0, 5), n=2)])
    assert evidence.totals("r1", 0).paired["mrr"].n == 15


def test_the_same_offsets_scored_for_another_candidate_or_rollout_count_there(evidence):
    evidence.append([plan((0, 0, 100), n=7), plan((0, 0, 100), n=5, rollout="r2")])
    evidence.append([plan((0, 0, 100), n=3, snapshot="s2")])
    assert (evidence.totals("r1", 0).paired["mrr"].n, evidence.totals("r2", 0).paired["mrr"].n) == (10, 5)


def test_a_replay_does_not_tell_that_its_writer_lives_but_hits_that_have_come_no_further_do(evidence):
    evidence.append(
        [plan((0, 0, 9), n=1, at=50.0), row("a:3.0", writer="hits/0", hits=Hits(users=1), at=50.0)]
    )
    evidence.append(
        [plan((0, 0, 9), n=1, at=60.0), row("a:2.0", writer="hits/0", hits=Hits(users=1), at=60.0)]
    )
    totals = evidence.totals("r1", 0)
    assert (totals.paired_at, totals.hits_at) == (50.0, 60.0)


def test_two_trainers_at_once_count_each_offset_once(evidence_port, evidence, at_once):
    def work(size: int) -> None:
        mine = evidence_port.open()
        for start in range(0, 60, size):
            mine.append([plan((0, start, start + size), n=size)])

    assert at_once(lambda: work(3), lambda: work(3), lambda: work(3)) == [None] * 3
    assert evidence.totals("r1", 0).paired["mrr"].n == 60


def test_a_late_row_of_a_purged_rollout_does_no_harm(evidence):
    evidence.append([plan((0, 0, 9), n=4)])
    evidence.purge({"r2"})
    evidence.append([plan((0, 9, 12), n=3), plan((0, 0, 9), n=2, rollout="r2")])
    assert evidence.totals("r2", 0).paired["mrr"].n == 2
    evidence.purge({"r2"})
    assert evidence.totals("r1", 0) == EvidenceTotals()


def test_appending_nothing_is_fine(evidence):
    evidence.append([])
    assert evidence.totals("r1", 0) == EvidenceTotals()


def test_writers_at_once_lose_nothing(evidence, at_once):
    def work(name: int) -> None:
        for number in range(50):
            rows = [
                row(number, writer=f"requests/{name}", requests=requests(1)),
                row(number, writer="shared"),
            ]
            evidence.append(rows)

    assert at_once(*[lambda name=name: work(name) for name in range(4)]) == [None] * 4
    assert evidence.totals("r1", 0).requests["s1"].n == 200


def test_a_request_falls_into_the_bucket_that_ends_at_or_above_its_time():
    assert latency_bucket(0.0) == latency_bucket(0.1) == 0
    assert latency_bucket(0.1001) == 1
    assert latency_bucket(10_000.0) == len(LATENCY_BOUNDS_MS) - 1
    assert latency_bucket(10_001.0) == latency_bucket(float("inf")) == len(LATENCY_BOUNDS_MS)
    for index, bound in enumerate(LATENCY_BOUNDS_MS):
        assert latency_bucket(bound) == index


def test_slower_than_never_calls_a_slow_request_fast():
    chance = random.Random(7)
    times = [10 ** chance.uniform(-2, 5) for _ in range(500)]
    latency = [0] * (len(LATENCY_BOUNDS_MS) + 1)
    for time in times:
        latency[latency_bucket(time)] += 1
    counted = Requests(n=500, latency=tuple(latency))
    for limit in (0.1, 1.0, 50.0, 99.9, 1_000.0, 10_000.0):
        really = sum(time > limit for time in times)
        within_a_bucket = sum(time > limit / 1.26 for time in times)
        assert really <= counted.slower_than(limit) <= within_a_bucket
