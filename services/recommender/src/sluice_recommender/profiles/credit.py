"""Judges answers whose window has passed and writes the evidence, every two seconds."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import structlog

from sluice import instruments, metrics
from sluice.errors import StorageUnavailable
from sluice.evidence import EvidenceRow, EvidenceStore, Hits
from sluice.experiment import Experiment
from sluice.routing import Routing, RoutingStore
from sluice_recommender.profiles.attribution import Contest, contest_of, experiment_contest, needed_from
from sluice_recommender.profiles.judging import Judging
from sluice_recommender.profiles.ledger import Ledger

EVIDENCE_S: Final = 2.0
_log = structlog.get_logger()
_EVIDENCE = instruments.counter(metrics.EVIDENCE_ROWS).labels("hits")


class CreditedModel(NamedTuple):
    """One model whose answers are judged, or an ``experiment``, which has its own key where a model has its."""

    key: str
    window_ms: int
    routing: RoutingStore
    evidence: EvidenceStore
    experiment: Experiment | None = None


class Credit:
    """Attribution of one source's models; ``topic`` is that of the answers, named in the evidence."""

    def __init__(self, ledger: Ledger, models: Sequence[CreditedModel], topic: str) -> None:
        self._ledger, self._models, self._topic = ledger, models, topic
        self._judging = Judging(ledger.database)
        self._written: dict[tuple[str, str, str], str] = {}
        self._at = 0.0

    def needed_from(self, log_now: int) -> int:
        """Return the log time from which a ledger must know what happened, to count what its predecessors counted.

        Raises :class:`StorageUnavailable` while nobody can say what rolls.
        """
        return min(self._needed_from(model, log_now) for model in self._models)

    def _needed_from(self, model: CreditedModel, log_now: int) -> int:
        routing, since = model.routing.read(), None
        if routing is None:  # nothing was published yet, or a cache lost it: then it comes back
            since = self._judging.known_since(model.key)
        elif routing.candidate is not None:
            since = _told(routing) or self._judging.known_since(model.key, routing.rollout)
        return needed_from(min(since or log_now, log_now), model.window_ms)

    def round(self, watermarks: Mapping[int, int], log_now: int, now: float) -> set[int]:
        """Judge up to each partition's watermark, write evidence, forget the old.

        ``watermarks`` and ``log_now`` are the log's time in milliseconds, ``now`` is Unix seconds. Returns the
        numbers of partitions that the ledger must begin anew: they were not judged.
        """
        self._at = now
        contests = [
            (model, routing, self._contest(model, routing, log_now))
            for model in self._models
            if (routing := model.routing.read()) is not None
        ]
        usable = {part: mark for part, mark in watermarks.items() if self._ledger.taken(part)}
        for model, routing, contest in contests:
            for part, watermark in usable.items():
                self._judging.judge(contest, part, watermark, log_now)
            if routing.candidate is not None and usable:
                self._write(model, routing, contest, sorted(usable))
        self._forget(usable)
        return watermarks.keys() - usable.keys()

    def _contest(self, model: CreditedModel, routing: Routing, log_now: int) -> Contest:
        seen = min(log_now, int(routing.renewed * 1e3))
        told = _told(routing)
        since = self._judging.since(
            model.key, routing.rollout, seen, told, needed_from(told, model.window_ms)
        )
        if model.experiment is not None:
            return experiment_contest(model.experiment, since, model.window_ms)
        return contest_of(model.key, routing, since, model.window_ms)

    def _forget(self, watermarks: Mapping[int, int]) -> None:
        """Forget the old; a model that was judged once will be again, though its routing is gone for now."""
        judging = [model.key for model in self._models if self._judging.has_judged(model.key)]
        longest = max(model.window_ms for model in self._models)
        for part, watermark in watermarks.items():
            self._ledger.forget_before(part, watermark, longest, judging)

    def _write(self, model: CreditedModel, routing: Routing, contest: Contest, parts: list[int]) -> None:
        rows = [row for part in parts for row in self._rows(contest, routing, part)]
        new = [row for row in rows if self._written.get(_place(row)) != row.sequence]
        try:
            rows = new or [_heartbeat(self._topic, routing, self._at)]
            model.evidence.append(rows)
            _EVIDENCE.inc(len(rows))
        except StorageUnavailable as error:
            _log.warning("evidence waits", model=model.key, reason=str(error))
            return
        self._written.update({_place(row): row.sequence for row in new})

    def _rows(self, contest: Contest, routing: Routing, part: int) -> list[EvidenceRow]:
        name = f"{self._topic}[{part}]"
        judged, voided = self._judging.progress(contest, part)
        found = self._judging.hits(contest.model, part)
        if voided:  # a snapshot may have lost all of its users, which is told too
            found = dict.fromkeys(sorted(contest.snapshots), Hits()) | found
        return [
            EvidenceRow(
                rollout=routing.rollout,
                snapshot=snapshot,
                writer=f"hits/{name}",
                sequence=f"{name}:{judged}.{voided}",
                at=self._at,
                weight_epoch=routing.weight_epoch,
                hits=hits,
            )
            for snapshot, hits in found.items()
        ]


def _told(routing: Routing) -> int:
    """Return when the rollout began, in milliseconds; 0 if nobody says."""
    return int(routing.since * 1e3) if routing.candidate is not None else 0


def _place(row: EvidenceRow) -> tuple[str, str, str]:
    return row.rollout, row.snapshot, row.writer


def _heartbeat(topic: str, routing: Routing, now: float) -> EvidenceRow:
    return EvidenceRow(
        rollout=routing.rollout,
        snapshot=routing.candidate or "",
        writer=f"hits/{topic}",
        sequence=f"heartbeat:{now:.3f}",
        at=now,
        weight_epoch=routing.weight_epoch,
    )
