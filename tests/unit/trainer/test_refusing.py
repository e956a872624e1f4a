"""What a learner refuses: only the guilty events stay out, each with a letter of its own."""

import numpy as np
import pytest

from sluice.embedded.home import Home
from sluice.errors import StorageUnavailable
from sluice.events import NewRecord
from sluice.topics import topics_of
from sluice_trainer import refusing
from sluice_trainer.dead_letters import DeadLetters
from sluice_trainer.learners.batches import take
from sluice_trainer.learners.protocol import Interactions, NonFiniteLoss, TrainStats
from sluice_trainer.refusing import Refused

TOPICS = topics_of("shop")


def batch(count: int) -> Interactions:
    rows = np.arange(count, dtype=np.int32)
    recent = np.full((count, 50), -1, np.int32)
    ones = np.ones(count, np.float32)
    return Interactions(rows, rows, ones, recent, recent.astype(np.float32), rows.astype(np.uint64))


class Picky:
    """Learns all but some events; refuses whole batches for them. ``fits``: whether fit is as picky."""

    def __init__(self, guilty: set[int], fits: bool = True) -> None:
        self.guilty, self.fits, self.learned = guilty, fits, list[int]()

    def _check(self, given: Interactions) -> list[int]:
        keys = given.keys.tolist()
        if self.guilty & set(keys):
            raise NonFiniteLoss("not finite")
        return keys

    def learn(self, given: Interactions, users: int, items: int) -> TrainStats:
        self.learned += self._check(given)
        return TrainStats(events=len(given.keys))

    def fit(self, given: Interactions, users: int, items: int) -> TrainStats:
        keys = self._check(given)
        if not self.fits and keys:
            raise NonFiniteLoss("never")
        self.learned = keys
        return TrainStats(events=len(keys))


@pytest.mark.parametrize("guilty", [set(), {0}, {6}, {2, 3}, {0, 3, 6}, set(range(7))])
def test_only_the_guilty_events_are_left_out_and_the_others_keep_their_order(guilty):
    learner = Picky(guilty)
    refused = refusing.learn(learner, batch(7), 7, 7)
    assert [each.key for each in refused] == sorted(guilty)
    assert learner.learned == [key for key in range(7) if key not in guilty]


@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize("guilty", [set(), {0}, {2, 3}, set(range(7))])
def test_a_training_leaves_the_guilty_events_out_and_never_fails(guilty, fits):
    learner = Picky(guilty, fits)
    refused = refusing.fit(learner, batch(7), 7, 7)
    assert {each.key for each in refused} == guilty
    assert sorted(learner.learned) == [key for key in range(7) if key not in guilty]


def test_a_batch_is_taken_apart_without_losing_a_column():
    for column, part in zip(batch(5), take(batch(5), slice(1, 3)), strict=True):
        np.testing.assert_array_equal(column[1:3], part)


@pytest.fixture
def log(tmp_path):
    return Home(tmp_path).log("shop")


def records(log):
    """Two records, and the events that were made of them."""
    log.append(TOPICS.interactions, [NewRecord(b"u", b"u:i"), NewRecord(b"u", b"u:j")])
    positions = dict.fromkeys(log.partitions(TOPICS.interactions), 0)
    found = log.read(positions, 10, 0.0)
    refused = [Refused(record.partition.number << 48 | record.offset, "too large") for record in found]
    return found, refused


def letters(log):
    return log.read(dict.fromkeys(log.partitions(TOPICS.dead_letters), 0), 100, 0.0)


def test_a_letter_names_its_origin_its_reason_and_its_model(log):
    found, refused = records(log)
    DeadLetters(log, TOPICS.dead_letters, "d.m", {}).write(refused[:1], found)
    (letter,) = letters(log)
    number = str(found[0].partition.number).encode()
    assert dict(letter.headers) == {
        "reason": b"not-finite",
        "topic": TOPICS.interactions.encode(),
        "partition": number,
        "offset": b"0",
        "detail": b"too large",
        "model": b"d.m",
    }
    assert (letter.key, letter.value) == (b"u", b"u:i")


def test_a_replay_writes_no_letter_again_and_other_models_letters_do_not_count(log):
    found, refused = records(log)
    ends = DeadLetters(log, TOPICS.dead_letters, "d.m", {}).ends()
    DeadLetters(log, TOPICS.dead_letters, "d.other", {}).write(refused, found)
    DeadLetters(log, TOPICS.dead_letters, "d.m", ends).write(refused[:1], found)
    for _ in range(2):
        DeadLetters(log, TOPICS.dead_letters, "d.m", ends).write(refused, found)
    models = [dict(letter.headers)["model"] for letter in letters(log)]
    assert sorted(models) == [b"d.m", b"d.m", b"d.other", b"d.other"]


class Unsure:
    """A log that takes letters and then says that it could not."""

    def __init__(self, log) -> None:
        self._log = log
        self.fails = 1

    def append(self, topic, made) -> None:
        self._log.append(topic, made)
        if self.fails:
            self.fails -= 1
            raise StorageUnavailable("no answer")

    def __getattr__(self, name):
        return getattr(self._log, name)


def test_letters_of_which_nobody_knows_whether_they_were_written_are_looked_up(log):
    found, refused = records(log)
    dead_letters = DeadLetters(Unsure(log), TOPICS.dead_letters, "d.m", {})
    with pytest.raises(StorageUnavailable):
        dead_letters.write(refused, found)
    dead_letters.write(refused, found)
    assert len(letters(log)) == 2


def test_without_refused_events_the_topic_is_not_even_asked():
    DeadLetters(None, TOPICS.dead_letters, "d.m", {}).write([], [])
