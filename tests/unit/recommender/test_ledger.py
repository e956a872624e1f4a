"""A ledger is a view of the log: whoever takes a partition over counts what one that read all has counted."""

import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from sluice.duplicates import Duplicates
from sluice.events import Partition
from sluice.topics import topics_of
from sluice_recommender.profiles.attribution import SLACK_MS, Click, Contest, Given
from sluice_recommender.profiles.batch import Forgotten
from sluice_recommender.profiles.judging import Judging
from sluice_recommender.profiles.ledger import Ledger, Span

TOPICS = topics_of("shop")
CLICKS, ANSWERS = Partition(TOPICS.interactions, 0), Partition(TOPICS.answers, 0)
WINDOW_MS = 3_000
SINCE = 20_000
CONTEST = Contest("m", "r", frozenset({"s1", "s2"}), SINCE, WINDOW_MS)

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["answer"] * 3 + ["click"] * 3 + ["forget"]),
        st.integers(0, 3_000),
        st.sampled_from("uv"),
        st.sampled_from("ab"),
    ),
    min_size=5,
    max_size=40,
)


class Stream:
    """Answers, clicks and forgets of one partition number, by topic in offset order."""

    def __init__(self, events) -> None:
        self.answers: list[Given] = []
        self.clicks: list[Click | Forgotten] = []
        at = 5_000
        for kind, gap, user, item in events:
            at += gap
            if kind == "answer":
                number = len(self.answers)
                snapshot = "s1" if gap % 2 else "s2"
                self.answers.append(Given(number, at, at, f"r{number}", user, "m", snapshot, (item,)))
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
        self.judging.judge(CONTEST, 0, at, at)
        self.ledger.forget_before(0, at, WINDOW_MS, ["m"])

    def counted(self):
        return self.judging.progress(CONTEST, 0), self.judging.hits("m", 0)


@settings(max_examples=150)
@given(
    events=EVENTS, first=st.floats(0, 1), second=st.floats(0, 1), steps=st.integers(1, 5), seed=st.randoms()
)
def test_ledgers_one_after_another_count_what_one_alone_counts(events, first, second, steps, seed):
    stream = Stream(events)
    cuts = sorted([first, second])
    times = [int(5_000 + (stream.end - 5_000) * each) for each in cuts]
    needed_from = SINCE - 2 * (WINDOW_MS + SLACK_MS)
    with tempfile.TemporaryDirectory() as folder:
        alone = Reader(Path(folder) / "alone.db", stream)
        alone.begin(0)
        alone.read_to(stream.end + 60_000, [CLICKS, ANSWERS])

        one, other = Reader(Path(folder) / "one.db", stream), Reader(Path(folder) / "other.db", stream)
        for reader, end in ((one, times[0]), (other, times[1]), (one, stream.end)):  # one comes back
            reader.begin(needed_from)
            for step in range(1, steps + 1):
                order = [CLICKS, ANSWERS] if seed.random() < 0.5 else [ANSWERS, CLICKS]
                reader.read_to(end * step // steps, order)
        one.read_to(stream.end + 60_000, [CLICKS, ANSWERS])
        assert one.counted()[1] == alone.counted()[1]
        if alone.counted()[1]:
            assert one.counted()[0] == alone.counted()[0]


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
