"""The trainer: what it knows, and what one plan does to it. No I/O, no clock, no global randomness.

``apply`` is a pure function of the trainer, the plan and its records (and of the snapshots that the plan's
routing names, which are immutable): the same journaled plans end in the same bits.
"""

from collections.abc import Sequence
from itertools import repeat
from typing import NamedTuple

import msgspec
import numpy as np

from sluice.encoder import Matrix
from sluice.events import StoredRecord
from sluice.evidence import EvidenceRow
from sluice.model import GateSource, ModelSpec, RecommenderModel, seconds, spec_hash
from sluice.snapshot.content import UnitContent
from sluice.topics import topics_of
from sluice_trainer import evaluation, refusing
from sluice_trainer.batch import Batch, decode, ranges_of, runs, without_forgotten
from sluice_trainer.checkpoint import Checkpoint, Position, owned, prefixed
from sluice_trainer.contenders import Contest
from sluice_trainer.evaluation import Counts, Events, Places, Window
from sluice_trainer.histories import RecentItems, SeenItems
from sluice_trainer.journal import Plan, Rules
from sluice_trainer.learners import registry
from sluice_trainer.learners.protocol import Interactions
from sluice_trainer.refusing import Refused
from sluice_trainer.repeats import Repeats
from sluice_trainer.vocabulary import Vocabulary


class Outcome(NamedTuple):
    """What a plan gave besides what was learned."""

    evidence: list[EvidenceRow]
    refused: list[Refused]


def rules_of(spec: ModelSpec, of: int = 1) -> Rules:
    """Return what ``spec`` decides about a plan; one event ``of`` so many is evaluated."""
    gated = {gate.metric for gate in spec.rollout.gates if gate.source is GateSource.PREQUENTIAL}
    return Rules(
        cut_seconds=seconds(spec.snapshots.interval),
        cut_events=spec.snapshots.events,
        metrics=tuple(sorted(gated | set(Window.METRICS))),
        of=of,
    )


class Trainer:
    """Learner, histories, vocabularies, popularity and evaluation of one model."""

    def __init__(self, model: RecommenderModel, seed: int) -> None:
        spec = model.spec
        self.model, self.seed = model, seed
        self.learner = registry.create(spec.algorithm.type, spec.algorithm.parameters, seed)
        self.position = Position(spec_hash=spec_hash(spec))
        self.users, self.items = Vocabulary(), Vocabulary()
        self.recent, self.seen, self.window = RecentItems(), SeenItems(), Window()
        self.counts: Counts = np.zeros(0, dtype=np.float64)
        self.repeats = Repeats()
        self._topic = topics_of(spec.source.name).interactions
        self.event_weights = {kind: float(weight) for kind, weight in spec.source.event_weights.items()}

    def apply(self, plan: Plan, records: Sequence[StoredRecord], contest: Contest) -> Outcome:
        """Learn a plan's records; return the evidence they gave and what the learner could not take."""
        batch = decode(records, self.repeats)
        outcome = Outcome([], [])
        if plan.fit:
            self._fit(without_forgotten(batch), outcome)
        else:
            for run in runs(batch):
                if run.interactions is None:
                    self._forget(run.forgotten)
                else:
                    self._learn(plan, self._take(run.interactions), contest, outcome)
        self._advance(plan, batch, len(outcome.refused))
        return outcome

    def _advance(self, plan: Plan, batch: Batch, refused: int) -> None:
        position = self.position
        starts = {part: start for part, (start, _) in plan.ranges.items()}
        ends = {part: end for part, (_, end) in plan.ranges.items()}
        self.position = msgspec.structs.replace(
            position,
            sequence=plan.sequence,
            offsets=position.offsets | ends,
            began=starts | position.began,
            fitted=position.fitted or plan.fit,
            age=position.age + plan.elapsed,
            interactions=position.interactions + len(batch.keys),
            refused=position.refused + refused,
            duplicates=position.duplicates + batch.duplicates,
            rejected=position.rejected + batch.rejected,
            forgets=position.forgets + len(batch.forgets),
        )

    def _fit(self, batch: Batch, outcome: Outcome) -> None:
        history = self._take(batch)
        self.seen.push(history.users, history.items)
        self._count(history)
        outcome.refused.extend(refusing.fit(self.learner, history, len(self.users), len(self.items)))

    def _learn(self, plan: Plan, batch: Interactions, contest: Contest, outcome: Outcome) -> None:
        asked = self._asked(plan, batch, contest)
        stored = self.seen.of(batch.users[asked])
        first = ~self.seen.push(batch.users, batch.items)
        if contest[0] is not None:
            early = evaluation.seen_within(batch, first, asked)
            events = Events.of(batch, asked, evaluation.merged(stored, early))
            self._evaluate(plan, batch, events.take(np.flatnonzero(first[asked])), contest, outcome)
        self._count(batch)
        outcome.refused.extend(refusing.learn(self.learner, batch, len(self.users), len(self.items)))

    def _take(self, batch: Batch) -> Interactions:
        """Return a batch as rows; each counts the weight of its kind (1 if unlisted) times its value."""
        users, items = self.users.add(batch.users), self.items.add(batch.items)
        kinds = map(self.event_weights.get, batch.kinds, repeat(1.0))
        of_kinds = np.fromiter(kinds, dtype=np.float64, count=len(batch.kinds))
        weights: Matrix = (of_kinds * np.array(batch.values, dtype=np.float64)).astype(np.float32)
        return Interactions(users, items, weights, *self.recent.push(users, items, weights), batch.keys)

    def _asked(self, plan: Plan, batch: Interactions, contest: Contest) -> Places:
        """Return which events may be evaluated.

        They are of a known user, in the sample, of an item stable knows, and neither contender learned them.
        """
        stable, _ = contest
        if stable is None:
            return np.empty(0, dtype=np.intp)
        stable.extend(self.items)
        sample: Places = np.flatnonzero(evaluation.sampled(batch.keys, plan.rules.of))
        known = (batch.recent[sample, 0] >= 0) & (stable.rows[batch.items[sample]] >= 0)
        for contender in contest:
            if contender is not None:
                known &= contender.unlearned(self._topic, batch.keys[sample])
        asked: Places = sample[known]
        return asked

    def _evaluate(
        self, plan: Plan, batch: Interactions, events: Events, contest: Contest, outcome: Outcome
    ) -> None:
        stable, candidate = contest
        assert stable is not None
        assert plan.routing is not None
        ranks = {
            "stable": evaluation.ranks_of(stable.unit, stable.rows, events),
            "popular": evaluation.popularity_ranks(self._counts_of_all(), events),
        }
        self.window.push(ranks["stable"], ranks["popular"])
        if candidate is not None:
            candidate.extend(self.items)
            ranks["candidate"] = evaluation.ranks_of(candidate.unit, candidate.rows, events)
            row = EvidenceRow(
                rollout=plan.routing.rollout,
                snapshot=candidate.unit.id,
                writer=f"paired/{self.model.key}",
                sequence=ranges_of(batch.keys),
                at=plan.now,
                weight_epoch=plan.routing.weight_epoch,
                paired=evaluation.paired(plan.rules.metrics, ranks),
            )
            outcome.evidence.append(row)

    def _counts_of_all(self) -> Counts:
        missing = len(self.items) - len(self.counts)
        if missing > 0:
            self.counts = np.concatenate([self.counts, np.zeros(missing, dtype=np.float64)])
        return self.counts

    def _count(self, batch: Interactions) -> None:
        np.add.at(self._counts_of_all(), batch.items, 1.0)

    def _forget(self, user_id: str) -> None:
        row = self.users.forget(user_id)
        if row >= 0:
            self.recent.forget(row)
            self.seen.forget(row)
            self.learner.forget(row)

    def cut_due(self, rules: Rules) -> bool:
        """Return whether a snapshot is to be cut now, by what was learned and how long that took."""
        position = self.position
        fresh = position.interactions - position.cut_interactions
        if not position.fitted or fresh == 0:
            return False
        waited = position.age - position.cut_age >= rules.cut_seconds
        return position.cut_snapshot is None or waited or fresh >= rules.cut_events

    def content(self) -> UnitContent:
        """Return the unit to cut now."""
        content = self.learner.content(self.items.identifiers())
        return msgspec.structs.replace(content, event_weights=self.event_weights)

    def was_cut(self, snapshot: str) -> None:
        """Note that ``snapshot`` was cut now."""
        self.position = msgspec.structs.replace(
            self.position,
            cut_snapshot=snapshot,
            cut_age=self.position.age,
            cut_interactions=self.position.interactions,
            snapshots=self.position.snapshots + 1,
        )

    def checkpoint(self) -> Checkpoint:
        """Return everything this trainer is made of."""
        owners = {
            "learner": self.learner.state(),
            "recent": self.recent.state(),
            "seen": self.seen.state(),
            "window": self.window.state(),
            "duplicates": self.repeats.state(),
            "popular": {"counts": self.counts.copy()},
        }
        return Checkpoint(
            position=self.position,
            users=self.users.identifiers(),
            items=self.items.identifiers(),
            arrays={
                name: array
                for owner, state in owners.items()
                for name, array in prefixed(owner, state).items()
            },
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Become the trainer that wrote ``checkpoint``."""
        self.position = checkpoint.position
        self.users, self.items = Vocabulary(checkpoint.users), Vocabulary(checkpoint.items)
        self.counts = checkpoint.arrays["popular.counts"].astype(np.float64)
        self.repeats.restore(owned("duplicates", checkpoint.arrays))
        self.learner.restore(owned("learner", checkpoint.arrays))
        self.recent.restore(owned("recent", checkpoint.arrays))
        self.seen.restore(owned("seen", checkpoint.arrays))
        self.window.restore(owned("window", checkpoint.arrays))
