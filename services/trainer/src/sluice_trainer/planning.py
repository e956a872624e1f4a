"""Makes plans: what to learn next, and from which records.

A plan covers up to ``BATCH`` records while the trainer keeps up. While it lags, plans grow up to ``CATCH_UP``
and only a sample of the events is evaluated, which is what most of the time would go into: one of ``SAMPLE``,
fewer where that were more than ``EVALUATED`` a plan.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from math import ceil
from operator import itemgetter
from typing import Final, NamedTuple

import structlog

from sluice.errors import OffsetOutOfRange, StorageUnavailable
from sluice.events import EventLog, Partition, StoredRecord
from sluice.positions import resumed
from sluice.routing import RoutingStore
from sluice.topics import topics_of
from sluice_trainer.batch import interactions_in
from sluice_trainer.contenders import Contenders, Contest, names_of
from sluice_trainer.journal import Plan
from sluice_trainer.trainer import Trainer, rules_of

_LOG = structlog.get_logger()
BATCH: Final = 256
CATCH_UP: Final = 32_768
SAMPLE: Final = 10
EVALUATED: Final = 128
READ: Final = 10_000
POLL_S: Final = 0.2
LAST_READS: Final = 5
"""After so many empty reads the log holds nothing more: its newest offsets may have no record."""
PATIENCE: Final = 50
"""After so many empty reads the log does not answer, although there must be something."""


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
        self._begins: dict[Partition, int] = {}  # where reading begins, of a partition or after a gap
        self._planned = time.monotonic()

    def next(self) -> Due | None:
        """Return what to learn next, waiting a moment for it; None if there is nothing.

        Raises :class:`StorageUnavailable` if the log, the routing or a snapshot cannot be read now.
        """
        return self._next_batch() if self._trainer.position.fitted else self._next_fit()

    def _next_batch(self) -> Due | None:
        positions = self._positions()
        try:
            found = self._log.read(positions, self._limit, POLL_S)
        except OffsetOutOfRange as error:
            self._begins = resumed(positions, error)
            return None
        lags = len(found) * len(positions) >= self._limit  # at least one partition gave its share
        of = 1 if len(found) <= BATCH else max(SAMPLE, ceil(len(found) / EVALUATED))
        due = self._due(_in_order(found), of=of) if found else None
        self._limit = min(2 * self._limit, CATCH_UP) if lags else max(self._limit // 2, BATCH)
        return due

    def _positions(self) -> dict[Partition, int]:
        """Return the next offset to read of each partition; of a new one, the first that the log holds."""
        learned, partitions = self._trainer.position.offsets, self._log.partitions(self._topic)
        if any(part.number not in learned and part not in self._begins for part in partitions):
            self._begins = self._log.begin_offsets(self._topic) | self._begins
        return {part: max(learned.get(part.number, 0), self._begins.get(part, 0)) for part in partitions}

    def _next_fit(self) -> Due | None:
        """Return the first training once the log holds enough to start from."""
        begins, ends = self._log.begin_offsets(self._topic), self._log.end_offsets(self._topic)
        begins = {part: begins.get(part, 0) for part in ends}
        if sum(ends.values()) - sum(begins.values()) >= self._warmup:
            found = [
                self._read_until(part, begins[part], end, fit=True) for part, end in sorted(ends.items())
            ]
            records = [record for each in found for record in each]
            if interactions_in(records) >= self._warmup:
                return self._due(records, fit=True)
        with suppress(OffsetOutOfRange):  # the next look tells where the log begins
            self._log.read(ends, 1, POLL_S)  # wait for the next one
        return None

    def _due(self, records: list[StoredRecord], *, fit: bool = False, of: int = 1) -> Due:
        """Return the plan for ``records``, given in the order in which a replay reads them."""
        routing = self._contenders.vetted(self._routing.read())
        plan = Plan(
            sequence=self._trainer.position.sequence + 1,
            ranges=_ranges(records),
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
        contest = self._contenders.of(plan.routing)
        for name, contender in zip(names_of(plan.routing), contest, strict=True):
            if name and contender is None:
                _LOG.error("replay differs, a snapshot is gone", plan=plan.sequence, snapshot=name)
        records = [
            record
            for part, (start, end) in sorted(plan.ranges.items())
            for record in self._read_until(Partition(self._topic, part), start, end)
        ]
        return Due(plan, records, contest)

    def _read_until(
        self, partition: Partition, start: int, end: int, *, fit: bool = False
    ) -> list[StoredRecord]:
        """Return all records from ``start`` to just before ``end``.

        Where the log has deleted some, that is told and reading goes on behind them. Nothing may be left although
        ``end`` is not reached; a plan to ``fit`` takes what there is, of any other the last record was there once.
        """
        records: list[StoredRecord] = []
        position, silent = start, 0
        while position < end and silent < (LAST_READS if fit else PATIENCE):
            try:
                found = self._log.read({partition: position}, min(READ, end - position), POLL_S)
            except OffsetOutOfRange as error:
                position = _behind_gap(error, end)
                continue
            silent = 0 if found else silent + 1
            records.extend(record for record in found if record.offset < end)
            position = found[-1].offset + 1 if found else position
        if position < end and not fit:
            raise StorageUnavailable(
                f"{partition.topic}[{partition.number}] gives nothing at {position} although it"
                f" reaches to {end}; check the log's retention"
            )
        return records


def _ranges(records: Sequence[StoredRecord]) -> dict[int, tuple[int, int]]:
    """Return the offsets that ``records``, given in order, span in each partition."""
    parts = ((partition, list(own)) for partition, own in groupby(records, itemgetter(0)))
    return {partition.number: (own[0].offset, own[-1].offset + 1) for partition, own in parts}


def _behind_gap(error: OffsetOutOfRange, end: int) -> int:
    """Return where to go on, at ``end`` at the latest: what is missing beyond is another plan's."""
    partition = Partition(error.topic, error.partition)
    begin = min(error.begin, end)
    gap = OffsetOutOfRange(error.topic, error.partition, error.position, begin, max(error.end, begin))
    if error.position <= error.end:
        _LOG.error(
            "records of a plan are gone, what was learned from them is lost",
            partition=f"{error.topic}[{error.partition}]",
            first=error.position,
            last=begin - 1,
        )
    return resumed({partition: error.position}, gap)[partition]


def _in_order(records: list[StoredRecord]) -> list[StoredRecord]:
    """Return records by partition and offset, as a replay reads them; each partition's are in order already."""
    by_partition: dict[Partition, list[StoredRecord]] = {}
    for partition, own in groupby(records, itemgetter(0)):
        by_partition.setdefault(partition, []).extend(own)
    return [record for partition in sorted(by_partition) for record in by_partition[partition]]


def offsets_of(trainer: Trainer) -> dict[Partition, int]:
    """Return the next offset to learn of each partition."""
    topic = topics_of(trainer.model.spec.source.name).interactions
    return {Partition(topic, part): end for part, end in trainer.position.offsets.items()}
