"""The consume loop: read, journal, evaluate, learn, cut, checkpoint, in this order.

One trainer serves one model; of two, the older one stops (:mod:`sluice_trainer.fencing`).

Delivery: a plan is journaled before it is carried out, a checkpoint holds the offsets it was made at, and
the log's own committed offsets are written last and for lag monitoring only. So a killed trainer restarts
from checkpoint + journal and carries each plan out exactly once.
"""

import gc
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Final, TypeVar

import structlog

from sluice import instruments, logs, metrics
from sluice.catalog import Catalog
from sluice.errors import StaleEpoch, StorageUnavailable
from sluice.events import EventLog, StoredRecord
from sluice.evidence import EvidenceRow, EvidenceStore
from sluice.routing import RoutingStore
from sluice.snapshot.store import SnapshotStore
from sluice.topics import topics_of, trainer_group
from sluice_trainer import checkpoint
from sluice_trainer.checkpoint import Checkpoint, Position
from sluice_trainer.contenders import Contenders
from sluice_trainer.cutting import Cutter
from sluice_trainer.dead_letters import DeadLetters
from sluice_trainer.fencing import Fence
from sluice_trainer.journal import Journal, Plan
from sluice_trainer.outage import RETRY_S, Outage
from sluice_trainer.planning import POLL_S, Due, Planner, offsets_of
from sluice_trainer.saving import Saved, Saver
from sluice_trainer.trainer import Outcome, Trainer

_LOG = structlog.get_logger()
_LEARN = instruments.histogram(metrics.LEARN_SECONDS)
_EVIDENCE = instruments.counter(metrics.EVIDENCE_ROWS).labels("paired")
_DELAY = instruments.gauge(metrics.DELAY)
HEARTBEAT_S: Final = 2.0
LAST_CUT_S: Final = 4.0
"""How long the end waits for pending snapshots in all; without them there is no checkpoint, and a replay cuts them."""
LAST_SAVE_S: Final = 10.0
"""How long the end waits for a checkpoint that a child is writing."""
SWEEP_S: Final = 5.0
T = TypeVar("T")


class Loop:
    """Drives one :class:`Trainer` from the log; everything it talks to is a port.

    With ``fork``, children write checkpoints and snapshots while learning goes on. Until it has taken up what an
    earlier trainer left it waits for a storage that is away, and raises :class:`~sluice_trainer.outage.Stopped` once
    ``stopping`` is set; without ``stopping`` it raises :class:`~sluice.errors.StorageUnavailable`.
    """

    def __init__(
        self,
        trainer: Trainer,
        *,
        folder: Path,
        store: SnapshotStore,
        log: EventLog,
        catalog: Catalog,
        evidence: EvidenceStore,
        routing: RoutingStore,
        warmup_events: int,
        checkpoint_s: float,
        fork: bool = False,
        stopping: threading.Event | None = None,
    ) -> None:
        self.trainer, self._log, self._evidence, self._routing = trainer, log, evidence, routing
        self._outage, self._stopping = Outage(), stopping
        self._fence = self._insist(lambda: Fence(folder, catalog))
        folder, epoch = self._fence.folder, self._fence.epoch
        self._saver = Saver(trainer, folder, checkpoint_s, epoch=epoch, fork=fork)
        self._cutter = Cutter(store, catalog, epoch, fork=fork)
        self._planner = Planner(trainer, log, routing, Contenders(store, catalog), warmup_events)
        self._heard_at, self._swept_at = 0.0, 0.0
        self._oldest: Position | None = None  # of the checkpoints kept, once one was written
        self._last: tuple[Due, Outcome] | None = None  # its evidence and letters are still to be written
        self._cut_due, self._now = False, 0.0
        try:
            self._journal = self._recover(folder)
        except StaleEpoch:
            self._fence.tell()
            raise

    def _insist(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns, waiting for a storage that is away if somebody can stop that."""
        return work() if self._stopping is None else self._outage.bridged(work, self._stopping)

    def _recover(self, folder: Path) -> Journal:
        """Take over the newest checkpoint, then carry out again the plans journaled since."""
        found = self._insist(lambda: self._newest_in(folder))
        if found is not None:
            self.trainer.restore(found)
        letters, source = found.letters if found else {}, self.trainer.model.spec.source.name
        self._dead_letters = DeadLetters(
            self._log, topics_of(source).dead_letters, self.trainer.model.key, letters
        )
        journal = self._insist(lambda: self._journal_in(folder))
        try:
            for plan in journal.plans:
                self._again(plan)
        except BaseException:
            self._cutter.abandon()
            journal.close()
            raise
        if found or journal.plans:
            ends = sorted(offsets_of(self.trainer).items())
            _LOG.info("resumed", positions=logs.positions(ends), replayed=len(journal.plans))
        return journal

    def _newest_in(self, folder: Path) -> Checkpoint | None:
        found = checkpoint.newest(folder)
        self._fence.check_folder()  # in a folder that was gone there seemed to be none
        return found

    def _journal_in(self, folder: Path) -> Journal:
        self._fence.check_folder()
        oldest = checkpoint.oldest_sequence(folder)
        return Journal(folder, self.trainer.position.sequence, oldest, self._fence.epoch)

    def _again(self, plan: Plan) -> None:
        """Carry a journaled plan out again, with its snapshot: later plans may evaluate that one."""
        self._learn(self._insist(lambda: self._planned_again(plan)))
        self._insist(self._settled)
        while not self._insist(lambda: self._cutter.settled(1.0)):
            self._fence.glance()

    def _planned_again(self, plan: Plan) -> Due:
        self._fence.glance()
        return self._planner.again(plan)

    def run(self, stopping: threading.Event) -> None:
        """Work until ``stopping`` is set; the state is checkpointed then.

        Raises :class:`~sluice.errors.StaleEpoch`, and saves nothing, once a newer trainer serves this model.
        """
        try:
            while not stopping.is_set():
                self._try_turn(stopping)
            self._end()
        except StaleEpoch:
            self._fence.tell()
            self._saver.abandon()
            self.close()
            raise

    def _try_turn(self, stopping: threading.Event) -> None:
        try:
            self.turn()
        except StorageUnavailable as error:
            self._outage.met(str(error))
            self._fence.glance()
            stopping.wait(RETRY_S)
        else:
            self._outage.over()

    def _end(self) -> None:
        """Checkpoint, unless the last plan is not settled: then the journal carries it out again."""
        try:
            saved = self._save() if self._all_settled() and self.trainer.position.sequence else None
        except StorageUnavailable as error:
            _LOG.error(
                "ended without a checkpoint, the journal carries its last plans out again", reason=str(error)
            )
        else:
            if saved is not None:
                self._tidy_last(saved)
        self.close()

    def _all_settled(self) -> bool:
        ends_at = time.monotonic() + LAST_CUT_S
        settled = self._settled(LAST_CUT_S)
        return settled and self._cutter.settled(max(0.0, ends_at - time.monotonic()))

    def _tidy_last(self, saved: Saved) -> None:
        try:
            self._tidy(saved)
        except StorageUnavailable as error:  # the next trainer does it
            _LOG.info("ended with a checkpoint, but the offsets for lag are not committed", reason=str(error))

    def close(self) -> None:
        """End what is still pending; only a checkpoint is waited for, and not for ever."""
        self._cutter.abandon()
        self._saver.wait(LAST_SAVE_S)
        self._journal.close()

    def turn(self) -> bool:
        """Do one plan, if there is anything to learn; return whether there was.

        Raises :class:`StorageUnavailable`, and then it is called again, or :class:`~sluice.errors.StaleEpoch`.
        """
        gc.disable()  # a plan makes many objects, none of them in a circle
        try:
            return self._turn()
        finally:
            gc.enable()

    def _turn(self) -> bool:
        self._fence.glance()
        if not self._settled(POLL_S) or not self._saved_in_time():
            self._heartbeat()
            return False
        due = self._planner.next()
        if due is None:
            self._heartbeat()
        else:
            self._fence.check_folder()
            self._journal.append(due.plan)
            self._planner.journaled(due.plan)
            self._carry_out(due)
        self._save_when_due()
        return due is not None

    def _carry_out(self, due: Due) -> None:
        self._learn(due)
        _tell_delay(due.records)
        self._settled()

    def _learn(self, due: Due) -> None:
        with _LEARN.time():
            self._last = due, self.trainer.apply(*due)
        self._cut_due = self.trainer.cut_due(due.plan.rules)
        if due.plan.fit:
            self._saver.hurry()

    def _settled(self, timeout_s: float = 0.0) -> bool:
        """Write what the last plan gave; return whether all of it is written, so that another may follow.

        What raises :class:`StorageUnavailable` stays due. A snapshot that is due while another is pending
        waits for it; no plan follows until it was begun.
        """
        if self._last is not None:
            due, outcome = self._last
            if outcome.refused or outcome.evidence:
                self._fence.check()
            self._dead_letters.write(outcome.refused, due.records)
            if outcome.evidence:
                self._evidence.append(outcome.evidence)
                _EVIDENCE.inc(len(outcome.evidence))
            self._now, self._last = due.plan.now, None
        free = self._cutter.settled(timeout_s if self._cut_due else 0.0)
        if self._cut_due and free:
            self._cutter.begin(self.trainer, self._now)
            self._cut_due = False
            self._cutter.settled()
        return not self._cut_due

    def _heartbeat(self) -> None:
        """Tell the gates that the evidence is not stale, there just were no events."""
        routing, now = self._routing.read(), time.time()
        if routing is None or routing.candidate is None or abs(now - self._heard_at) < HEARTBEAT_S:
            return
        self._heard_at = now
        row = EvidenceRow(
            rollout=routing.rollout,
            snapshot=routing.candidate,
            writer=f"paired/{self.trainer.model.key}",
            sequence=f"heartbeat:{now:.3f}",
            at=now,
            weight_epoch=routing.weight_epoch,
        )
        self._fence.check()
        self._evidence.append([row])
        _EVIDENCE.inc()

    def _saved_in_time(self) -> bool:
        """Return whether plans may go on; a checkpoint that is long overdue comes first.

        A trainer that catches up may have a snapshot pending at every turn: it would never checkpoint. One
        that waits for room holds nothing up here.
        """
        if not self._saver.overdue or self._cutter.stuck:
            return True
        free = self._cutter.settled(POLL_S)
        if free:
            self._save_when_due()
        return free

    def _save_when_due(self) -> None:
        saved = self._saver.settled()
        if saved is not None:
            self._tidy(saved)
        if self._saver.due and not self._cutter.busy and not self._cut_due:
            self._fence.check_folder()
            self._saver.begin(self._journal, self._dead_letters.ends())
            if (done := self._saver.settled()) is not None:
                self._tidy(done)
        if time.monotonic() - self._swept_at >= SWEEP_S:
            self._sweep()

    def save(self) -> None:
        """Checkpoint here and now."""
        self._tidy(self._save())

    def _save(self) -> Saved:
        self._saver.wait(LAST_SAVE_S)
        self._fence.check_folder()
        return self._saver.save(self._journal, self._dead_letters.ends())

    def _tidy(self, saved: Saved) -> None:
        """Let go of what a sound checkpoint makes needless, and note the offsets for lag monitoring."""
        self._journal.drop_before(saved.oldest.sequence)
        self._oldest = saved.oldest
        self._fence.check()
        self._log.commit(trainer_group(self.trainer.model.key), saved.offsets)
        self._sweep()

    def _sweep(self) -> None:
        """Delete what nobody needs, also while nothing is learned and no checkpoint is due."""
        self._swept_at = time.monotonic()
        with suppress(StorageUnavailable):  # nobody learns slower for a catalog that is away
            self._fence.check()
            self._cutter.sweep(self._oldest, self._journal.named())


def _tell_delay(records: Sequence[StoredRecord]) -> None:
    """Tell how long the oldest record of each partition had waited; they come partition by partition."""
    now = time.time()
    for partition, own in groupby(records, itemgetter(0)):
        delay_s = max(0.0, now - next(own).timestamp / 1e3)
        _DELAY.labels(partition.topic, partition.number).set(delay_s)
