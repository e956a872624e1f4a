"""A ledger is a view of the log: whoever takes a partition over counts what one that read all has counted."""

import tempfile
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from sluice.duplicates import Duplicates
from sluice.events import Partition
from sluice.topics import topics_of
from sluice_recommender.profiles import attribution
from sluice_recommender.profiles.attribution import REPEAT_MS, Click, Contest, Given, needed_from
from sluice_recommender.profiles.batch import Forgotten
from sluice_recommender.profiles.judging import Judging
from sluice_recommender.profiles.ledger import Ledger, Span

TOPICS = topics_of("shop")
CLICKS, ANSWERS = Partition(TOPICS.interactions, 0), Partition(TOPICS.answers, 0)
WINDOW_MS = 3_000
SINCE = 20_000
CONTEST = Contest("m", "r", frozenset({"s1", "s2"}), SINCE, WINDOW_MS)
TRIAL = "experiment/e"
TRIED = Contest(TRIAL, TRIAL, frozenset({"m", "n"}), SINCE, WINDOW_MS, experiment=True)
CONTESTS = (CONTEST, TRIED)

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["answer"] * 3 + ["click"] * 3 + ["again", "forget"]),
        st.integers(0, 3_000),
        st.sampled_from("uv"),
        st.sampled_from("ab"),
    ),
    min_size=5,
    max_size=40,
)


class Stream:
    """Answers, clicks and forgets of one partition number, by topic in offset order."""

    def __init__(self, events, at=5_000) -> None:
        self.answers: list[Given] = []
        self.clicks: list[Click | Forgotten] = []
        for kind, gap, user, item in events:
            at += gap
            if kind == "answer":
                number = len(self.answers)
                snapshot, model = "s1" if gap % 2 else "s2", "n" if gap % 5 == 0 else "m"
                self.answers.append(
                    Given(number, at, at, f"r{number}", user, model, snapshot, (item,), TRIAL)
                )
            elif kind == "again":
                if self.answers:  # the log was slow to tell that it had one of the last
                    before = self.answers[-1 - gap % min(3, len(self.answers))]
                    self.answers.append(before._replace(offset=len(self.answers), logged=at, at=at))
            elif kind == "click":
                named = f"r{gap % 7}" if gap % 3 else None
                self.clicks.append(Click(len(self.clicks), at, user, item, named))
            else:
                self.clicks.append(Forgotten(len(self.clicks), at, user))
        self.end = at

    def places(self, at: int) -> dict[Partition, int]:
        """Return the offsets from a log time on."""
        return {
            ANSWERS: sum(each.logged < at for each in self.answers),
            CLICKS: sum(each.at < at for each in self.clicks),
        }


class Reader:
    """Feeds a ledger from where it stands, and judges now and then."""

    def __init__(self, path: Path, stream: Stream) -> None:
        self.ledger, self._stream = Ledger(path, TOPICS), stream
        self.ledger.database.connection.execute("PRAGMA synchronous = OFF")
        self.judging = Judging(self.ledger.database)

    def begin(self, needed_from: int) -> None:
        places, taken = self._stream.places(needed_from), self.ledger.taken(0)
        if not all(
            each in taken and taken[each].start <= at <= taken[each].end for each, at in places.items()
        ):
            self.ledger.restart(0, places, needed_from)

    def read_to(self, at: int, order: list[Partition]) -> None:
        ends, taken = self._stream.places(at + 1), self.ledger.taken(0)
        for each in order:
            span = Span(taken[each].end, max(taken[each].end, ends[each]))
            answers = {0: self._stream.answers[span.start : span.end]}
            clicks = {0: self._stream.clicks[span.start : span.end]}
            assert self.ledger.record(answers, clicks, {each: span}) == set()
        for contest in CONTESTS:
            self.judging.judge(contest, 0, at, at)
        self.ledger.forget_before(0, at, WINDOW_MS, ["m", TRIAL])

    def counted(self, contest=CONTEST):
        return self.judging.progress(contest, 0), self.judging.hits(contest.model, 0)


@contextmanager
def repeats_within(milliseconds):
    with mock.patch.object(attribution, "REPEAT_MS", milliseconds):
        yield


@settings(max_examples=150)
@given(
    events=EVENTS, first=st.floats(0, 1), second=st.floats(0, 1), steps=st.integers(1, 5), seed=st.randoms()
)
def test_ledgers_one_after_another_count_what_one_alone_counts(events, first, second, steps, seed):
    stream = Stream(events)
    cuts = sorted([first, second])
    times = [int(5_000 + (stream.end - 5_000) * each) for each in cuts]
    with tempfile.TemporaryDirectory() as folder, repeats_within(2_000):
        begin = needed_from(SINCE, WINDOW_MS)
        alone = Reader(Path(folder) / "alone.db", stream)
        alone.begin(0)
        alone.read_to(stream.end + 60_000, [CLICKS, ANSWERS])

        one, other = Reader(Path(folder) / "one.db", stream), Reader(Path(folder) / "other.db", stream)
        for reader, end in ((one, times[0]), (other, times[1]), (one, stream.end)):  # one comes back
            reader.begin(begin)
            for step in range(1, steps + 1):
                order = [CLICKS, ANSWERS] if seed.random() < 0.5 else [ANSWERS, CLICKS]
                reader.read_to(end * step // steps, order)
        one.read_to(stream.end + 60_000, [CLICKS, ANSWERS])
        for contest in CONTESTS:
            assert one.counted(contest)[1] == alone.counted(contest)[1]
            if alone.counted(contest)[1]:
                assert one.counted(contest)[0] == alone.counted(contest)[0]


@settings(max_examples=100)
@given(events=EVENTS, steps=st.integers(2, 8), seed=st.randoms())
def test_judging_before_a_forget_or_after_counts_the_same_in_rollouts_and_experiments(events, steps, seed):
    stream = Stream(events, SINCE)
    with tempfile.TemporaryDirectory() as folder, repeats_within(2_000):
        often, late = Reader(Path(folder) / "often.db", stream), Reader(Path(folder) / "late.db", stream)
        for reader in (often, late):
            reader.begin(0)
        for step in range(1, steps):
            order = seed.sample([CLICKS, ANSWERS], 2)
            often.read_to(SINCE + (stream.end - SINCE) * step // steps, order)
        for reader in (often, late):
            reader.read_to(stream.end + 60_000, seed.sample([CLICKS, ANSWERS], 2))
        for contest in CONTESTS:
            assert often.counted(contest)[1] == late.counted(contest)[1]


def test_nobody_speaks_for_users_who_are_forgotten_also_in_an_experiment(tmp_path):
    stream = Stream([("answer", 20_001, user, "a") for user in "uvw"] + [("forget", 1, "u", "a")])
    reader = Reader(tmp_path / "ledger.db", stream)
    reader.begin(0)
    reader.read_to(stream.end + 60_000, [ANSWERS, CLICKS])
    assert reader.counted(TRIED)[1]["m"].users == 2


def copies(*times) -> list[Given]:
    return [Given(n, at, at, "r", "u", "m", "s1", ("a",)) for n, at in enumerate(times)]


def counted_of(path, answers, *, lots) -> int:
    ledger = Ledger(path, TOPICS)
    ledger.restart(0, {CLICKS: 0, ANSWERS: 0})
    for start in range(0, len(answers), lots):
        part = answers[start : start + lots]
        ledger.record({0: part}, {}, {ANSWERS: Span(start, start + len(part))})
        ledger.record({0: part}, {}, {ANSWERS: Span(start, start + len(part))})  # handed over again
        ledger.forget_before(0, part[-1].logged, WINDOW_MS, ["m"])
    judging = Judging(ledger.database)
    judging.judge(CONTEST, 0, answers[-1].logged + 60_000, answers[-1].logged + 60_000)
    assert judging.judged_to("m", 0) == len(answers)
    return sum(hits.answers for hits in judging.hits("m", 0).values())


@pytest.mark.parametrize("lots", [1, 2, 9])
def test_an_answer_that_the_log_took_more_than_once_counts_once(tmp_path, lots):
    answers = copies(SINCE, SINCE + 10_000, SINCE + REPEAT_MS, SINCE + 2 * REPEAT_MS)
    assert counted_of(tmp_path / "ledger.db", answers, lots=lots) == 1
    late = copies(SINCE, SINCE + REPEAT_MS + 1)
    assert counted_of(tmp_path / "late.db", late, lots=lots) == 2, "so late that nobody remembers"


@pytest.mark.parametrize(
    "other", [{"request_id": "r2"}, {"user_id": "v"}, {"items": ("b",)}, {"snapshot": "s2"}]
)
def test_another_answer_is_no_repeat_though_it_shares_the_clients_request_id(tmp_path, other):
    first, second = copies(SINCE, SINCE + 1)
    assert counted_of(tmp_path / "ledger.db", [first, second._replace(**other)], lots=1) == 2


def test_who_begins_where_it_is_needed_knows_the_original_of_every_answer_that_counts(tmp_path):
    answers = copies(SINCE - REPEAT_MS, SINCE)
    held = [each for each in answers if each.logged >= needed_from(SINCE, WINDOW_MS)]
    assert counted_of(tmp_path / "ledger.db", held, lots=1) == 0, "it was given before the rollout began"


def test_a_repeat_of_an_answer_whose_user_was_forgotten_meanwhile_is_still_one(tmp_path):
    first, again = copies(SINCE, SINCE + 5_000)
    ledger = Ledger(tmp_path / "ledger.db", TOPICS)
    ledger.restart(0, {CLICKS: 0, ANSWERS: 0})
    ledger.record({0: [first]}, {}, {ANSWERS: Span(0, 1)})
    ledger.record({}, {0: [Forgotten(0, SINCE + 100, "u")]}, {CLICKS: Span(0, 1)})
    ledger.record({0: [again]}, {}, {ANSWERS: Span(1, 2)})
    judging = Judging(ledger.database)
    judging.judge(CONTEST, 0, SINCE + 60_000, SINCE + 60_000)
    assert judging.hits("m", 0) == {}


def test_who_has_come_equally_far_counts_the_same_whether_a_forget_was_read_before_or_after(tmp_path):
    stream = Stream([("answer", 20_001, "u", "a"), ("click", 1, "u", "a"), ("forget", 20_000, "u", "a")])
    early, late = Reader(tmp_path / "early.db", stream), Reader(tmp_path / "late.db", stream)
    for reader in (early, late):
        reader.begin(0)
    early.read_to(stream.end - 1, [CLICKS, ANSWERS])
    assert early.counted()[1]["s1"].hits == 1
    for reader in (early, late):
        reader.read_to(stream.end + 60_000, [CLICKS, ANSWERS])
        assert reader.counted() == ((1, 2), {})


def test_what_lies_behind_a_gap_is_not_taken(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db", TOPICS)
    click = {0: [Click(5, 1, "u", "a", None)]}
    assert ledger.record({}, click, {CLICKS: Span(5, 6)}) == {0}, "it was never begun"
    ledger.restart(0, {CLICKS: 3, ANSWERS: 0})
    assert ledger.record({}, click, {CLICKS: Span(5, 6)}) == {0}
    assert ledger.taken(0)[CLICKS] == Span(3, 3)
    assert ledger.record({}, click, {CLICKS: Span(2, 6)}) == set()
    assert ledger.taken(0)[CLICKS] == Span(3, 6)
    assert ledger.record({}, click, {CLICKS: Span(2, 6)}) == set(), "again, which changes nothing"


@pytest.mark.parametrize(("judged", "again"), [(SINCE - 1, False), (SINCE, True)])
def test_what_was_judged_beyond_the_beginning_of_a_rollout_is_begun_anew(tmp_path, judged, again):
    ledger = Ledger(tmp_path / "ledger.db", TOPICS)
    judging = Judging(ledger.database)
    ledger.restart(0, {CLICKS: 0, ANSWERS: 0})
    given_at = Given(0, judged, judged, "r0", "u", "m", "s1", ("a",))
    ledger.record({0: [given_at]}, {}, {ANSWERS: Span(0, 1)})
    before = Contest("m", "before", frozenset(), 0, WINDOW_MS)
    judging.since("m", "before", 0)
    judging.judge(before, 0, judged + 60_000, judged + 60_000)
    assert judging.since("m", "r", judged + 60_000, SINCE) == SINCE
    assert (ledger.taken(0) == {}) == again


def test_a_rollout_that_began_before_the_ledger_knows_anything_begins_it_anew(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db", TOPICS)
    ledger.restart(0, {CLICKS: 0, ANSWERS: 0}, known_from=5_000)
    judging = Judging(ledger.database)
    judging.since("m", "r1", 9_000, told=8_000, needed_from=6_000)
    assert ledger.taken(0)
    judging.since("m", "r2", 9_000, told=6_000, needed_from=4_000)
    assert not ledger.taken(0)


def test_a_partition_that_is_forgotten_is_not_asked_about_its_past():
    duplicates = Duplicates()
    assert not duplicates.repeated(0, 1, "e")
    assert duplicates.repeated(0, 2, "e")
    assert duplicates.repeated(0, 2, "e"), "asked again, answered as before"
    assert not duplicates.repeated(0, 1, "e")
    duplicates.forget(0)
    assert not duplicates.repeated(0, 2, "e")
