"""The consume loop: read, journal, evaluate, learn, cut, checkpoint, in this order.

One trainer serves one model; of two, the older one stops (:mod:`sluice_trainer.fencing`).

Delivery: a plan is journaled before it is carried out, a checkpoint holds the offsets it was made at, and
the log's own committed offsets are written last and for lag monitoring only. So a killed trainer restarts
from checkpoint + journal and carries each plan out exactly once.
"""

import gc
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Final

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
from sluice_trainer.checkpoint import Position
from sluice_trainer.contenders import Contenders
from sluice_trainer.cutting import Cutter
from sluice_trainer.dead_letters import DeadLetters
from sluice_trainer.fencing import Fence
from sluice_trainer.journal import Journal
from sluice_trainer.outage import Outage
from sluice_trainer.planning import POLL_S, Due, Planner, offsets_of
from sluice_trainer.saving import Saved, Saver
from sluice_trainer.trainer import Outcome, Trainer

_LOG = structlog.get_logger()
_LEARN = instruments.histogram(metrics.LEARN_SECONDS)
_EVIDENCE = instruments.counter(metrics.EVIDENCE_ROWS).labels("paired")
_DELAY = instruments.gauge(metrics.DELAY)
RETRY_S: Final = 1.0
HEARTBEAT_S: Final = 2.0
LAST_CUT_S: Final = 4.0
"""How long the end waits for pending snapshots in all; without them there is no checkpoint, and a replay cuts them."""
LAST_SAVE_S: Final = 10.0
"""How long the end waits for a checkpoint that a child is writing."""
SWEEP_S: Final = 5.0


class Loop:
    """Drives one :class:`Trainer` from the log; everything it talks to is a port.

    With ``fork``, children write checkpoints and snapshots while learning goes on.
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
    ) -> None:
        self.trainer, self._log, self._evidence, self._routing = trainer, log, evidence, routing
        self._fence, self._outage = Fence(folder, catalog), Outage()
        folder, epoch = self._fence.folder, self._fence.epoch
        self._saver = Saver(trainer, folder, checkpoint_s, epoch=epoch, fork=fork)
        self._cutter = Cutter(store, catalog, epoch, fork=fork)
        self._planner = Planner(trainer, log, routing, Contenders(store), warmup_events)
        self._heard_at, self._swept_at = 0.0, 0.0
        self._oldest: Position | None = None  # of the checkpoints kept, once one was written
        self._last: tuple[Due, Outcome] | None = None  # its evidence and letters are still to be written
        self._cut_due, self._now = False, 0.0
        try:
            self._journal = self._recover(folder)
        except StaleEpoch:
            self._fence.tell()
            raise

    def _recover(self, folder: Path) -> Journal:
        """Take over the newest checkpoint, then carry out again the plans journaled since."""
        found = checkpoint.newest(folder)
        if found is not None:
            self.trainer.restore(found)
        letters, source = found.letters if found else {}, self.trainer.model.spec.source.name
        self._dead_letters = DeadLetters(
            self._log, topics_of(source).dead_letters, self.trainer.model.key, letters
        )
        oldest = checkpoint.oldest_sequence(folder)
        journal = Journal(folder, self.trainer.position.sequence, oldest, self._fence.epoch)
        try:
            for plan in journal.plans:
                self._carry_out(self._planner.again(plan), replay=True)
        except BaseException:
            journal.close()
            raise
        if found or journal.plans:
            ends = sorted(offsets_of(self.trainer).items())
            _LOG.info("resumed", positions=logs.positions(ends), replayed=len(journal.plans))
        return journal

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
            ends_at = time.monotonic() + LAST_CUT_S
            settled = self._settled(LAST_CUT_S)
            if (
                settled
                and self._cutter.settled(max(0.0, ends_at - time.monotonic()))
                and self.trainer.position.sequence
            ):
                self.save()
        except StorageUnavailable as error:
            _LOG.error(
                "ended without a checkpoint, the journal carries its last plans out again", reason=str(error)
            )
        self.close()

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

    def _carry_out(self, due: Due, *, replay: bool = False) -> None:
        with _LEARN.time():
            self._last = due, self.trainer.apply(*due)
        if not replay:
            _tell_delay(due.records)
        self._cut_due = self.trainer.cut_due(due.plan.rules)
        if due.plan.fit:
            self._saver.hurry()
        self._settled(replay=replay)

    def _settled(self, timeout_s: float = 0.0, *, replay: bool = False) -> bool:
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
            cut = self._cutter.cut if replay else self._cutter.begin
            cut(self.trainer, self._now)
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
        self._saver.wait(LAST_SAVE_S)
        self._fence.check_folder()
        self._tidy(self._saver.save(self._journal, self._dead_letters.ends()))

    def _tidy(self, saved: Saved) -> None:
        """Let go of what a sound checkpoint makes needless, and note the offsets for lag monitoring."""
        self._journal.drop_before(saved.oldest.sequence)
        self._oldest = saved.oldest
        self._fence.check()
        self._log.commit(trainer_group(self.trainer.model.key), saved.offsets)
        self._sweep()

    def _sweep(self) -> None:
        """Delete what the rollout has released, also while nothing is learned and no checkpoint is due."""
        self._swept_at = time.monotonic()
        if self._oldest is not None:
            with suppress(StorageUnavailable):  # nobody learns slower for a catalog that is away
                self._fence.check()
                self._cutter.sweep(self._oldest, self._journal.named())


def _tell_delay(records: Sequence[StoredRecord]) -> None:
    """Tell how long the oldest record of each partition had waited; they come partition by partition."""
    now = time.time()
    for partition, own in groupby(records, itemgetter(0)):
        delay_s = max(0.0, now - next(own).timestamp / 1e3)
        _DELAY.labels(partition.topic, partition.number).set(delay_s)
