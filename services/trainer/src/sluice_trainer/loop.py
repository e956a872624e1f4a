"""The consume loop: read, journal, evaluate, learn, cut, checkpoint, in this order.

Delivery: a plan is journaled before it is carried out, a checkpoint holds the offsets it was made at, and
the log's own committed offsets are written last and for lag monitoring only. So a killed trainer restarts
from checkpoint + journal and carries each plan out exactly once.
"""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from sluice.catalog import Catalog
from sluice.errors import StorageUnavailable
from sluice.events import EventLog, Partition, StoredRecord
from sluice.evidence import EvidenceRow, EvidenceStore
from sluice.routing import RoutingStore
from sluice.topics import topics_of, trainer_group
from sluice_trainer import checkpoint
from sluice_trainer.batch import interactions_in
from sluice_trainer.contenders import Contenders
from sluice_trainer.cutting import Cutter
from sluice_trainer.journal import Journal, Plan
from sluice_trainer.trainer import Trainer

_LOG = structlog.get_logger()
BATCH: Final = 256
POLL_S: Final = 0.2
RETRY_S: Final = 1.0
HEARTBEAT_S: Final = 2.0


class Loop:
    """Drives one :class:`Trainer` from the log; everything it talks to is a port."""

    def __init__(
        self,
        trainer: Trainer,
        *,
        folder: Path,
        store: Path,
        log: EventLog,
        catalog: Catalog,
        evidence: EvidenceStore,
        routing: RoutingStore,
        warmup_events: int,
        checkpoint_s: float,
    ) -> None:
        self.trainer, self._folder, self._log = trainer, folder, log
        self._evidence, self._routing = evidence, routing
        self._contenders, self._cutter = Contenders(store), Cutter(store, catalog, catalog.claim())
        self._topic = topics_of(trainer.model.spec.source.name).interactions
        self._warmup, self._checkpoint_s = warmup_events, checkpoint_s
        self._checkpointed = time.monotonic()
        self._heard_at = 0.0
        self._unsent: list[EvidenceRow] = []
        self._to_cut: float | None = None
        self._journal = self._recover()

    def _recover(self) -> Journal:
        """Take over the newest checkpoint, then carry out again the plans journaled since."""
        found = checkpoint.newest(self._folder)
        if found is not None:
            self.trainer.restore(found)
        journal = Journal(
            self._folder, self.trainer.position.sequence, checkpoint.oldest_sequence(self._folder)
        )
        try:
            for plan in journal.plans:
                self._carry_out(plan, self._read_exactly(plan))
        except BaseException:
            journal.close()
            raise
        if found or journal.plans:
            _LOG.info("resumed", offsets=self.trainer.position.offsets, replayed=len(journal.plans))
        return journal

    def run(self, stopping: threading.Event) -> None:
        """Work until ``stopping`` is set; the state is checkpointed then."""
        while not stopping.is_set():
            try:
                self.turn()
            except StorageUnavailable as error:
                _LOG.error("storage-unavailable", reason=str(error))
                stopping.wait(RETRY_S)
        self._end()

    def _end(self) -> None:
        """Checkpoint, unless the last plan is not settled: then the journal carries it out again."""
        try:
            self._settle()
            if self.trainer.position.sequence:
                self.save()
        except StorageUnavailable as error:
            _LOG.error("ended-without-checkpoint", reason=str(error))
        self.close()

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def turn(self) -> bool:
        """Do one plan, if there is anything to learn; return whether there was."""
        self._settle()
        plan, records = self._next_fit() if not self.trainer.position.fitted else self._next_batch()
        if plan is None:
            self._heartbeat()
        else:
            self._journal.append(plan)
            self._carry_out(plan, records)
        if plan is not None and (plan.fit or time.monotonic() - self._checkpointed >= self._checkpoint_s):
            self.save()
        return plan is not None

    def _next_batch(self) -> tuple[Plan | None, list[StoredRecord]]:
        offsets = self.trainer.position.offsets
        positions = {part: offsets.get(part.number, 0) for part in self._log.partitions(self._topic)}
        found = self._log.read(positions, BATCH, POLL_S)
        records = sorted(
            found, key=lambda record: (record.partition, record.offset)
        )  # as a replay reads them
        return (self._plan(records), records) if records else (None, [])

    def _next_fit(self) -> tuple[Plan | None, list[StoredRecord]]:
        """Return the plan of the first training once the log holds enough to start from."""
        ends = self._log.end_offsets(self._topic)
        records = self._read_until(dict.fromkeys(ends, 0), ends) if sum(ends.values()) >= self._warmup else []
        if interactions_in(records) < self._warmup:
            self._log.read(ends, 1, POLL_S)  # wait for the next one
            return None, []
        return self._plan(records, fit=True), records

    def _plan(self, records: Sequence[StoredRecord], *, fit: bool = False) -> Plan:
        ranges: dict[int, tuple[int, int]] = {}
        for record in records:
            start, _ = ranges.get(record.partition.number, (record.offset, 0))
            ranges[record.partition.number] = (start, record.offset + 1)
        sequence = self.trainer.position.sequence + 1
        return Plan(sequence=sequence, ranges=ranges, now=time.time(), fit=fit, routing=self._routing.read())

    def _read_exactly(self, plan: Plan) -> list[StoredRecord]:
        starts = {Partition(self._topic, part): start for part, (start, _) in plan.ranges.items()}
        ends = {Partition(self._topic, part): end for part, (_, end) in plan.ranges.items()}
        return self._read_until(starts, ends)

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

    def _carry_out(self, plan: Plan, records: Sequence[StoredRecord]) -> None:
        contest = self._contenders.of(plan.routing)
        self._unsent += self.trainer.apply(plan, records, contest)
        if self.trainer.cut_due(plan.now):
            self._to_cut = plan.now
        self._settle()

    def _settle(self) -> None:
        """Write what the last plan gave; it stays due while a store is unavailable, and nothing goes on."""
        if self._unsent:
            self._evidence.append(self._unsent)
            self._unsent = []
        if self._to_cut is not None:
            started = time.monotonic()
            name = self._cutter.cut(self.trainer, self._to_cut)
            self._to_cut = None
            took_ms = round(1000 * (time.monotonic() - started))
            _LOG.info("snapshot-cut", snapshot=name, took_ms=took_ms, **self.trainer.window.summary())

    def _heartbeat(self) -> None:
        """Tell the gates that the evidence is not stale, there just were no events."""
        routing, now = self._routing.read(), time.time()
        if routing is None or routing.candidate is None or now - self._heard_at < HEARTBEAT_S:
            return
        self._heard_at = now
        row = EvidenceRow(
            rollout=routing.rollout,
            snapshot=routing.candidate,
            writer=f"paired/{self.trainer.model.key}",
            sequence=f"heartbeat:{now:.3f}",
            at=now,
            weight=routing.weight,
        )
        self._evidence.append([row])

    def save(self) -> None:
        """Checkpoint, start a new journal, note the offsets for lag monitoring, sweep released snapshots."""
        checkpoint.write(self._folder, self.trainer.checkpoint())
        self._journal.close()
        sequence, oldest = self.trainer.position.sequence, checkpoint.oldest_sequence(self._folder)
        self._journal = Journal(self._folder, sequence, oldest)
        offsets = {Partition(self._topic, part): end for part, end in self.trainer.position.offsets.items()}
        self._log.commit(trainer_group(self.trainer.model.key), offsets)
        self._cutter.sweep()
        self._checkpointed = time.monotonic()
