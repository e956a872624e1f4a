"""Makes plans: what to learn next, and from which records.

A plan covers up to ``BATCH`` records while the trainer keeps up. While it lags, plans grow up to ``CATCH_UP``
and only one event of ``SAMPLE`` is evaluated, which is what most of the time goes into.
"""

import time
from typing import Final, NamedTuple

import structlog

from sluice.errors import StorageUnavailable
from sluice.events import EventLog, Partition, StoredRecord
from sluice.routing import RoutingStore
from sluice.topics import topics_of
from sluice_trainer.batch import interactions_in
from sluice_trainer.contenders import Contenders, Contest, names_of
from sluice_trainer.journal import Plan
from sluice_trainer.trainer import Trainer, rules_of

_LOG = structlog.get_logger()
BATCH: Final = 256
CATCH_UP: Final = 8_192
SAMPLE: Final = 10
POLL_S: Final = 0.2


class Due(NamedTuple):
    """A plan with all that is needed to carry it out."""

    plan: Plan
    records: list[StoredRecord]
    contest: Contest


class Planner:
    """Plans for one trainer; asks the log, the routing and the store, changes nothing."""

    def __init__(
        self, trainer: Trainer, log: EventLog, routing: RoutingStore, contenders: Contenders, warmup: int
    ) -> None:
        self._trainer, self._log, self._routing = trainer, log, routing
        self._contenders, self._warmup = contenders, warmup
        self._topic = topics_of(trainer.model.spec.source.name).interactions
        self._limit = BATCH
        self._planned = time.monotonic()

    def next(self) -> Due | None:
        """Return what to learn next, waiting a moment for it; None if there is nothing.

        Raises :class:`StorageUnavailable` if the log, the routing or a snapshot cannot be read now.
        """
        return self._next_batch() if self._trainer.position.fitted else self._next_fit()

    def _next_batch(self) -> Due | None:
        offsets = self._trainer.position.offsets
        partitions = self._log.partitions(self._topic)
        positions = {part: offsets.get(part.number, 0) for part in partitions}
        found = self._log.read(positions, self._limit, POLL_S)
        lags = len(found) * len(partitions) >= self._limit  # at least one partition gave its share
        of = 1 if len(found) <= BATCH else SAMPLE
        due = self._due(_in_order(found), of=of) if found else None
        self._limit = min(2 * self._limit, CATCH_UP) if lags else BATCH
        return due

    def _next_fit(self) -> Due | None:
        """Return the first training once the log holds enough to start from."""
        ends = self._log.end_offsets(self._topic)
        records = self._read_until(dict.fromkeys(ends, 0), ends) if sum(ends.values()) >= self._warmup else []
        if interactions_in(records) < self._warmup:
            self._log.read(ends, 1, POLL_S)  # wait for the next one
            return None
        return self._due(records, fit=True)

    def _due(self, records: list[StoredRecord], *, fit: bool = False, of: int = 1) -> Due:
        """Return the plan for ``records``, given in the order in which a replay reads them."""
        ranges: dict[int, tuple[int, int]] = {}
        for (_, part), offset, *_ in records:
            start, _end = ranges.get(part, (offset, 0))
            ranges[part] = (start, offset + 1)
        routing = self._contenders.vetted(self._routing.read())
        plan = Plan(
            sequence=self._trainer.position.sequence + 1,
            ranges=ranges,
            now=time.time(),
            elapsed=time.monotonic() - self._planned,
            rules=rules_of(self._trainer.model.spec, of),
            fit=fit,
            routing=routing,
        )
        return Due(plan, records, self._contenders.of(routing))

    def journaled(self, plan: Plan) -> None:
        """Take note that ``plan`` counts: the next one's time begins here."""
        self._planned += plan.elapsed

    def again(self, plan: Plan) -> Due:
        """Return a journaled plan with its records; raises :class:`StorageUnavailable` if they are gone."""
        starts = {Partition(self._topic, part): start for part, (start, _) in plan.ranges.items()}
        ends = {Partition(self._topic, part): end for part, (_, end) in plan.ranges.items()}
        contest = self._contenders.of(plan.routing)
        for name, contender in zip(names_of(plan.routing), contest, strict=True):
            if name and contender is None:
                _LOG.error("replay differs, a snapshot is gone", plan=plan.sequence, snapshot=name)
        return Due(plan, self._read_until(starts, ends), contest)

    def _read_until(self, starts: dict[Partition, int], ends: dict[Partition, int]) -> list[StoredRecord]:
        """Return all records from ``starts`` to just before ``ends``, by partition and offset."""
        records: list[StoredRecord] = []
        for partition, end in sorted(ends.items()):
            position = starts[partition]
            while position < end:
                found = self._log.read({partition: position}, 10_000, POLL_S)
                if not found:
                    raise StorageUnavailable(
                        f"{partition.topic}[{partition.number}] gives nothing at {position} although it"
                        f" reaches to {end}; check the log's retention"
                    )
                records.extend(record for record in found if record.offset < end)
                position = found[-1].offset + 1
        return records


def _in_order(records: list[StoredRecord]) -> list[StoredRecord]:
    """Return records by partition and offset, as a replay reads them; each partition's are in order already."""
    by_partition: dict[Partition, list[StoredRecord]] = {}
    for record in records:
        by_partition.setdefault(record.partition, []).append(record)
    return [record for partition in sorted(by_partition) for record in by_partition[partition]]


def offsets_of(trainer: Trainer) -> dict[Partition, int]:
    """Return the next offset to learn of each partition."""
    topic = topics_of(trainer.model.spec.source.name).interactions
    return {Partition(topic, part): end for part, end in trainer.position.offsets.items()}
