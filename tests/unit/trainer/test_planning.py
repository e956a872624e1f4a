"""Plans over a log that has gaps, loses its oldest records, or was cut off."""

import msgspec
import pytest
from structlog.testing import capture_logs

from sluice.errors import OffsetOutOfRange, StorageUnavailable
from sluice.events import Partition, StoredRecord
from sluice.model import RecommenderModel
from sluice.records import Interaction, encode
from sluice.topics import topics_of
from sluice_trainer import planning
from sluice_trainer.planning import Planner
from sluice_trainer.trainer import Trainer

TOPIC = topics_of("shop").interactions
ONE, TWO = Partition(TOPIC, 0), Partition(TOPIC, 1)
MODEL = msgspec.convert(
    {
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "RecommenderModel",
        "metadata": {"name": "m"},
        "spec": {"algorithm": {"type": "Popular"}},
    },
    RecommenderModel,
)


class Log:
    """Records at chosen offsets; ``begins`` and ``ends`` need not be where they begin and end."""

    def __init__(self, *offsets: list[int]) -> None:
        self.offsets = {Partition(TOPIC, number): own for number, own in enumerate(offsets)}
        self.begins = {part: min(own, default=0) for part, own in self.offsets.items()}
        self.ends = {part: max(own, default=-1) + 1 for part, own in self.offsets.items()}

    def partitions(self, topic: str) -> list[Partition]:
        return list(self.offsets)

    def begin_offsets(self, topic: str) -> dict[Partition, int]:
        return dict(self.begins)

    def end_offsets(self, topic: str) -> dict[Partition, int]:
        return dict(self.ends)

    def read(self, positions, limit, timeout_s) -> list[StoredRecord]:
        for part, position in positions.items():
            if not self.begins[part] <= position <= self.ends[part]:
                raise OffsetOutOfRange(*part, position, self.begins[part], self.ends[part])
        return [
            StoredRecord(part, offset, 0, b"", encode(Interaction(user_id=f"u{part.number}", item_id="i")))
            for part, position in positions.items()
            for offset in self.offsets[part]
            if offset >= position
        ][:limit]

    def delete_before(self, part: Partition, offset: int) -> None:
        self.begins[part] = offset
        self.offsets[part] = [each for each in self.offsets[part] if each >= offset]


class Quiet:
    """No rollout, no snapshots."""

    def read(self) -> None:
        return None

    def vetted(self, routing) -> None:
        return None

    def of(self, routing) -> tuple[None, None]:
        return None, None


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(planning, "POLL_S", 0.0)


def planner(log: Log, warmup: int = 1) -> tuple[Planner, Trainer]:
    trainer = Trainer(MODEL, seed=1)
    return Planner(trainer, log, Quiet(), Quiet(), warmup), trainer


def follow(made: Planner, trainer: Trainer) -> dict[int, tuple[int, int]] | None:
    due = made.next()
    if due is None:
        return None
    trainer.apply(*due)
    return due.plan.ranges


def test_a_new_trainer_begins_where_the_log_does(monkeypatch):
    log = Log([100, 101, 102], [7])
    made, trainer = planner(log, warmup=4)
    assert follow(made, trainer) == {0: (100, 103), 1: (7, 8)}
    assert trainer.position.began == {0: 100, 1: 7}


def test_what_was_deleted_does_not_count_as_waiting_for_the_first_training():
    log = Log([100, 101])
    made, trainer = planner(log, warmup=50)
    assert follow(made, trainer) is None


def test_offsets_without_a_record_before_the_end_do_not_hold_the_first_training_up():
    log = Log([0, 3, 4], [])
    log.ends = {ONE: 9, TWO: 2}
    made, trainer = planner(log, warmup=3)
    assert follow(made, trainer) == {0: (0, 5)}


def test_a_partition_that_joins_later_is_read_from_its_first_record():
    log = Log([0, 1])
    made, trainer = planner(log)
    follow(made, trainer)
    log.offsets[TWO], log.begins[TWO], log.ends[TWO] = [40, 41], 40, 42
    assert follow(made, trainer) == {1: (40, 42)}


def test_records_deleted_before_they_were_read_are_told_and_passed_over():
    log = Log([0, 1, 2], [0])
    made, trainer = planner(log)
    follow(made, trainer)
    log.offsets[ONE] += [10, 11]
    log.ends[ONE] = 12
    log.delete_before(ONE, 10)
    with capture_logs() as said:
        assert follow(made, trainer) is None
        assert follow(made, trainer) == {0: (10, 12)}
    assert [(line["position"], line["begin"], line["lost"]) for line in said] == [(3, 10, 7)]


def test_a_topic_that_was_cut_off_or_made_anew_is_not_read():
    log = Log([0, 1, 2])
    made, trainer = planner(log)
    follow(made, trainer)
    log.offsets[ONE], log.ends[ONE] = [0], 1
    with pytest.raises(StorageUnavailable, match="cut off or created anew"):
        made.next()
    assert trainer.position.offsets == {0: 3}


@pytest.fixture
def planned():
    """A log with gaps, and plans over its offsets 0-4 and 4-8 by a trainer that died since."""
    log = Log([0, 1, 3, 4, 5, 7])
    made, _ = planner(log)
    plan = made.next().plan
    return log, [msgspec.structs.replace(plan, ranges={0: ends}) for ends in ((0, 4), (4, 8))]


def offsets(due) -> list[int]:
    return [record.offset for record in due.records]


def test_a_replay_reads_a_plan_with_gaps_to_its_end(planned):
    log, plans = planned
    made, _ = planner(log)
    assert [offsets(made.again(plan)) for plan in plans] == [[0, 1, 3], [4, 5, 7]]


@pytest.mark.parametrize(
    ("begin", "left", "gone"),
    [(2, [[3], [4, 5, 7]], [(0, 1)]), (4, [[], [4, 5, 7]], [(0, 3)]), (7, [[], [7]], [(0, 3), (4, 6)])],
)
def test_a_replay_tells_exactly_which_records_are_gone_and_goes_on_with_the_rest(planned, begin, left, gone):
    log, plans = planned
    log.delete_before(ONE, begin)
    made, _ = planner(log)
    with capture_logs() as said:
        assert [offsets(made.again(plan)) for plan in plans] == left
    told = [(line["first"], line["last"]) for line in said if "first" in line]
    assert told == gone
    assert sum(line.get("lost", 0) for line in said) == begin


def test_a_log_that_should_have_records_but_gives_none_stops_the_replay(planned):
    log, plans = planned
    log.offsets[ONE] = []
    made, _ = planner(log)
    with pytest.raises(StorageUnavailable, match="check the log's retention"):
        made.again(plans[0])


@pytest.mark.parametrize(("records", "of"), [(256, 1), (257, 10), (1_280, 10), (1_281, 11), (8_192, 64)])
def test_the_more_a_plan_holds_the_smaller_the_sample_that_is_evaluated(records, of):
    log = Log(list(range(10)))
    made, trainer = planner(log)
    follow(made, trainer)
    log.offsets[ONE] += range(10, 10 + records)
    log.ends[ONE] += records
    made._limit = records
    assert made.next().plan.rules.of == of
