"""The trainer: what it knows, and what one plan does to it. No I/O, no clock, no global randomness.

``apply`` is a pure function of the trainer, the plan and its records (and of the snapshots that the plan's
routing names, which are immutable): the same journaled plans end in the same bits.
"""

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from sluice.encoder import Matrix, Rows, event_weight
from sluice.events import StoredRecord
from sluice.evidence import EvidenceRow
from sluice.model import GateSource, RecommenderModel, seconds, spec_hash
from sluice.records import Forget, Interaction
from sluice.snapshot.content import UnitContent
from sluice_trainer import evaluation
from sluice_trainer.batch import Batch, Duplicates, Event, decode
from sluice_trainer.checkpoint import Checkpoint, Position, owned, prefixed
from sluice_trainer.contenders import Contender
from sluice_trainer.evaluation import Events, Window
from sluice_trainer.histories import RecentItems, SeenItems
from sluice_trainer.journal import Plan
from sluice_trainer.learners import registry
from sluice_trainer.learners.protocol import Interactions, NonFiniteLoss
from sluice_trainer.vocabulary import Vocabulary

_LOG = structlog.get_logger()
Contest = tuple[Contender | None, Contender | None]


class Trainer:
    """Learner, histories, vocabularies, popularity and evaluation of one model."""

    def __init__(self, model: RecommenderModel, seed: int) -> None:
        spec = model.spec
        self.model, self.seed = model, seed
        self.learner = registry.create(spec.algorithm.type, spec.algorithm.parameters, seed)
        self.position = Position(spec_hash=spec_hash(spec))
        self.users, self.items = Vocabulary(), Vocabulary()
        self.recent, self.seen, self.window = RecentItems(), SeenItems(), Window()
        self.counts: Matrix = np.zeros(0, dtype=np.float32)
        self.duplicates = Duplicates()
        self.event_weights = {kind: float(weight) for kind, weight in spec.source.event_weights.items()}
        gated = {gate.metric for gate in spec.rollout.gates if gate.source is GateSource.PREQUENTIAL}
        self._metrics = sorted(gated | set(Window.METRICS))

    def apply(self, plan: Plan, records: Sequence[StoredRecord], contest: Contest) -> list[EvidenceRow]:
        """Learn a plan's records; return the evidence they gave."""
        batch = decode(records, self.duplicates)
        evidence: list[EvidenceRow] = []
        if plan.fit:
            self._fit(without_forgotten(batch.events))
        else:
            for run in runs(batch.events):
                evidence.extend(self._learn(plan, run, contest))
        self._advance(plan, batch)
        return evidence

    def _advance(self, plan: Plan, batch: Batch) -> None:
        forgets = sum(isinstance(event.event, Forget) for event in batch.events)
        position = self.position
        starts = {part: start for part, (start, _) in plan.ranges.items()}
        ends = {part: end for part, (_, end) in plan.ranges.items()}
        self.position = msgspec.structs.replace(
            position,
            sequence=plan.sequence,
            offsets=position.offsets | ends,
            began=starts | position.began,
            fitted=position.fitted or plan.fit,
            interactions=position.interactions + len(batch.events) - forgets,
            duplicates=position.duplicates + batch.duplicates,
            rejected=position.rejected + batch.rejected,
            forgets=position.forgets + forgets,
        )

    def _fit(self, events: list[Event]) -> None:
        history = self._take(events)
        self.seen.push(history.users, history.items)
        self._count(history)
        self.learner.fit(history, len(self.users), len(self.items))

    def _learn(self, plan: Plan, run: "Run", contest: Contest) -> Iterator[EvidenceRow]:
        if run.forget is not None:
            self._forget(run.forget)
            return
        batch = self._take(run.events)
        stored = self.seen.of(batch.users)
        first = ~self.seen.push(batch.users, batch.items)
        new = first & (batch.recent[:, 0] >= 0)
        yield from self._evaluate(plan, batch, seen_before(stored, batch, first), new, contest)
        self._count(batch)
        try:
            self.learner.learn(batch, len(self.users), len(self.items))
        except NonFiniteLoss as error:
            _LOG.error("batch-rejected", plan=plan.key, reason=str(error))

    def _take(self, events: Sequence[Event]) -> Interactions:
        interactions = [_interaction(event) for event in events]
        users = self.users.add([each.user_id for each in interactions])
        items = self.items.add([each.item_id for each in interactions])
        weights = np.array(
            [event_weight(self.event_weights, each.event, each.value) for each in interactions],
            dtype=np.float32,
        )
        keys = np.array([event.key for event in events], dtype=np.uint64)
        return Interactions(users, items, weights, *self.recent.push(users, items, weights), keys)

    def _evaluate(
        self,
        plan: Plan,
        batch: Interactions,
        before: tuple[NDArray[np.intp], Rows],
        new: NDArray[np.bool_],
        contest: Contest,
    ) -> Iterator[EvidenceRow]:
        stable, candidate = contest
        if stable is None or plan.routing is None:
            return
        stable.extend(self.items)
        chosen = np.flatnonzero(new & (stable.rows[batch.items] >= 0))
        events = Events(batch.items, batch.recent, batch.recent_weights, before).take(chosen)
        ranks = {
            "stable": evaluation.ranks_of(stable.unit, stable.rows, events),
            "popular": evaluation.popularity_ranks(self._counts_of_all(), events),
        }
        self.window.push(ranks["stable"], ranks["popular"])
        if candidate is not None:
            candidate.extend(self.items)
            ranks["candidate"] = evaluation.ranks_of(candidate.unit, candidate.rows, events)
            yield EvidenceRow(
                rollout=plan.routing.rollout,
                snapshot=candidate.unit.id,
                writer=f"paired/{self.model.key}",
                sequence=f"{plan.key}/{int(batch.keys[0])}",
                at=plan.now,
                weight=plan.routing.weight,
                paired=evaluation.paired(self._metrics, ranks),
            )

    def _counts_of_all(self) -> Matrix:
        missing = len(self.items) - len(self.counts)
        if missing > 0:
            self.counts = np.concatenate([self.counts, np.zeros(missing, dtype=np.float32)])
        return self.counts

    def _count(self, batch: Interactions) -> None:
        np.add.at(self._counts_of_all(), batch.items, np.float32(1))

    def _forget(self, forget: Forget) -> None:
        row = int(self.users.add([forget.user_id])[0])
        self.recent.forget(row)
        self.seen.forget(row)

    def cut_due(self, now: float) -> bool:
        """Return whether a snapshot is to be cut at the journaled ``now`` (Unix seconds)."""
        snapshots, position = self.model.spec.snapshots, self.position
        fresh = position.interactions - position.cut_interactions
        if not position.fitted or fresh == 0:
            return False
        waited = now - position.cut_at >= seconds(snapshots.interval)
        return position.cut_snapshot is None or waited or fresh >= snapshots.events

    def content(self) -> UnitContent:
        """Return the unit to cut now."""
        content = self.learner.content(self.items.identifiers())
        return msgspec.structs.replace(content, event_weights=self.event_weights)

    def was_cut(self, snapshot: str, now: float) -> None:
        """Note that ``snapshot`` was cut at the journaled ``now``."""
        self.position = msgspec.structs.replace(
            self.position,
            cut_snapshot=snapshot,
            cut_at=now,
            cut_interactions=self.position.interactions,
            snapshots=self.position.snapshots + 1,
        )

    def checkpoint(self) -> Checkpoint:
        """Return everything this trainer is made of."""
        arrays = prefixed("learner", self.learner.state()) | prefixed("recent", self.recent.state())
        arrays |= prefixed("seen", self.seen.state()) | prefixed("window", self.window.state())
        return Checkpoint(
            position=self.position,
            users=self.users.identifiers(),
            items=self.items.identifiers(),
            event_ids=self.duplicates.state(),
            arrays=arrays | {"popular.counts": self.counts.copy()},
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Become the trainer that wrote ``checkpoint``."""
        self.position = checkpoint.position
        self.users, self.items = Vocabulary(checkpoint.users), Vocabulary(checkpoint.items)
        self.duplicates = Duplicates(checkpoint.event_ids)
        self.counts = checkpoint.arrays["popular.counts"]
        self.learner.restore(owned("learner", checkpoint.arrays))
        self.recent.restore(owned("recent", checkpoint.arrays))
        self.seen.restore(owned("seen", checkpoint.arrays))
        self.window.restore(owned("window", checkpoint.arrays))


class Run(msgspec.Struct, frozen=True):
    """Consecutive interactions, or one forget between them."""

    events: list[Event]
    forget: Forget | None = None


def runs(events: Sequence[Event]) -> Iterator[Run]:
    """Split a batch at its forgets, in order."""
    pending: list[Event] = []
    for event in events:
        if isinstance(event.event, Forget):
            if pending:
                yield Run(pending)
            yield Run([], event.event)
            pending = []
        else:
            pending.append(event)
    if pending:
        yield Run(pending)


def without_forgotten(events: Sequence[Event]) -> list[Event]:
    """Return the interactions that no later forget of their user voids."""
    forgotten: set[str] = set()
    kept = []
    for event in reversed(events):
        if isinstance(event.event, Forget):
            forgotten.add(event.event.user_id)
        elif event.event.user_id not in forgotten:
            kept.append(event)
    return kept[::-1]


def seen_before(
    stored: tuple[NDArray[np.intp], Rows], batch: Interactions, first: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], Rows]:
    """Return (position, item) of all that each event's user had seen before it, each pair once.

    ``stored`` is what they had seen before the batch, ``first`` which events show their user a new item.
    """
    same_user = np.tril(batch.users[:, None] == batch.users[None, :], -1)
    late, early = np.nonzero(same_user & first[None, :])
    positions = np.concatenate([stored[0], late])
    seen = np.concatenate([stored[1], batch.items[early]])
    order = np.argsort(positions, kind="stable")
    return positions[order], seen[order]


def _interaction(event: Event) -> Interaction:
    assert isinstance(event.event, Interaction)
    return event.event
