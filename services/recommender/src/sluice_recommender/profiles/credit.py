"""Judges answers whose window has passed and writes the evidence, every two seconds."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import structlog

from sluice import instruments, metrics
from sluice.errors import StorageUnavailable
from sluice.evidence import EvidenceRow, EvidenceStore, Hits
from sluice.routing import Routing, RoutingStore
from sluice_recommender.profiles.attribution import Contest, contest_of
from sluice_recommender.profiles.ledger import Ledger

EVIDENCE_S: Final = 2.0
_log = structlog.get_logger()
_EVIDENCE = instruments.counter(metrics.EVIDENCE_ROWS).labels("hits")


class CreditedModel(NamedTuple):
    """One model whose answers are judged."""

    key: str
    window_ms: int
    routing: RoutingStore
    evidence: EvidenceStore


class Credit:
    """Attribution of one source's models; ``topic`` is that of the answers, named in the evidence."""

    def __init__(self, ledger: Ledger, models: Sequence[CreditedModel], topic: str) -> None:
        self._ledger, self._models, self._topic = ledger, models, topic
        self._written: dict[tuple[str, str, str], str] = {}
        self._at = 0.0

    def round(self, watermarks: dict[int, int], log_now: int, now: float) -> None:
        """Judge up to each partition's watermark, write evidence, forget the old.

        ``watermarks`` and ``log_now`` are the log's time in milliseconds, ``now`` is Unix seconds.
        """
        self._at = now
        judging = []
        for model in self._models:
            routing = model.routing.read()
            if routing is not None:
                self._judge(model, routing, watermarks, log_now)
                judging.append(model.key)
        longest = max(model.window_ms for model in self._models)
        for part, watermark in watermarks.items():
            self._ledger.forget_before(part, watermark, longest, judging)

    def _judge(
        self, model: CreditedModel, routing: Routing, watermarks: dict[int, int], log_now: int
    ) -> None:
        since = self._ledger.since(model.key, routing.rollout, min(log_now, int(routing.renewed * 1e3)))
        contest = contest_of(model.key, routing, since, model.window_ms)
        for part, watermark in watermarks.items():
            self._ledger.judge(contest, part, watermark, log_now)
        if routing.candidate is not None:
            self._write(model, routing, contest, sorted(watermarks))

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
        judged, voided = self._ledger.progress(contest.model, part)
        found = self._ledger.hits(contest.model, part)
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
