"""Watches a running platform and keeps the record of a demo run up to date."""

import threading
import time
from collections import deque
from typing import Final

import msgspec
import structlog
import urllib3

from sluice.catalog import Catalog, CatalogEntry
from sluice.snapshot.store import SnapshotStore
from sluice_cli.demo.record import Point, Record, Told
from sluice_cli.demo.replay import Replayer
from sluice_cli.demo.sabotage import sabotage
from sluice_cli.demo.view import View
from sluice_operator.embedded import EmbeddedRollout
from sluice_operator.rollout.state import NoteType, Phase, RolloutState

INTERVAL_S: Final = 0.25
_HTTP: Final = urllib3.PoolManager(timeout=urllib3.Timeout(1.0), retries=False)
_LOG = structlog.get_logger()


class TrainerStatus(msgspec.Struct, frozen=True):
    """What the trainer tells of itself."""

    fitted: bool = False
    interactions: int = 0
    duplicates: int = 0
    rejected: int = 0
    lag: int = 0
    quality: dict[str, float] = {}

    @property
    def taken(self) -> int:
        """How many records it has read."""
        return self.interactions + self.duplicates + self.rejected


class Watcher:
    """Reads rollout, catalog and trainer a few times a second; lets the bad candidate in when it is time."""

    def __init__(
        self,
        record: Record,
        view: View,
        *,
        replayer: Replayer,
        rollout: EmbeddedRollout,
        catalog: Catalog,
        store: SnapshotStore,
        trainer_status: str,
        sabotages: bool,
    ) -> None:
        self.record, self._view, self._replayer = record, view, replayer
        self._rollout, self._catalog, self._store = rollout, catalog, store
        self._trainer_status = trainer_status
        self._sabotages, self._sabotaged = sabotages, list[str]()
        self._noted = self._clicked = 0
        self._first: str | None = None
        self._began = time.monotonic()
        self._pace: deque[tuple[float, int]] = deque(maxlen=12)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self.status = TrainerStatus()

    def start(self) -> None:
        """Begin watching."""
        self._thread.start()

    def stop(self) -> None:
        """Look one last time and end."""
        self._stopping.set()
        self._thread.join()
        self._look()

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    def tell(self, reason: str, message: str) -> None:
        """Add a line of the run's own to the story."""
        self._say(Told(at=self.elapsed, reason=reason, message=message))

    def _run(self) -> None:
        while not self._stopping.wait(INTERVAL_S):
            try:
                self._look()
            except Exception as error:  # the run goes on; the next look may succeed
                _LOG.warning("look failed", exc_info=error)

    def _look(self) -> None:
        _, state = self._rollout.read()
        entries = self._catalog.entries()
        self._take_status()
        self._tell_news(entries)
        self._take_rollout(state)
        self._take_replay()
        self.record.points.append(self._point(state))
        if self._sabotages and self._time_for_sabotage(state):
            self._let_bad_candidate_in(state)
        self._view.update(self.record)

    def _take_status(self) -> None:
        try:
            answer = _HTTP.request("GET", self._trainer_status)
            self.status = msgspec.json.decode(answer.data, type=TrainerStatus)
        except (urllib3.exceptions.HTTPError, msgspec.DecodeError) as error:
            _LOG.debug("trainer silent", reason=str(error))

    def _tell_news(self, entries: list[CatalogEntry]) -> None:
        for entry in entries:
            if entry.id not in self.record.snapshots:
                self.record.snapshots.append(entry.id)
                cut = f"{entry.id} from {entry.interactions:,} interactions, {entry.bytes / 1e6:.1f} MB"
                self.tell("SnapshotCut", cut)
        for note in self._rollout.notes(self._noted):
            self._noted = note.sequence
            warning = note.note.type is NoteType.WARNING
            self._say(
                Told(at=self.elapsed, reason=note.note.reason, message=note.note.message, warning=warning)
            )

    def _take_rollout(self, state: RolloutState) -> None:
        self.record.rollout = state
        self._first = self._first or next(reversed(state.promoted), None)
        known = {*self.record.promoted, self._first}
        self.record.promoted += [each for each in reversed(state.promoted) if each not in known]
        self.record.rejected += [each.id for each in state.aborted if each.id not in self.record.rejected]

    def _take_replay(self) -> None:
        replayer = self._replayer
        self.record.latencies_ms = replayer.latencies_ms
        self.record.freshness_ms = replayer.freshness_ms
        self.record.request_errors = replayer.errors
        for click in replayer.clicks[self._clicked :]:
            self._clicked += 1
            self.record.clicks.append(click)

    def _point(self, state: RolloutState) -> Point:
        self._pace.append((time.monotonic(), self._replayer.streamed))
        (since, before), (now, after) = self._pace[0], self._pace[-1]
        quality = self.status.quality
        return Point(
            at=self.elapsed,
            streamed=self._replayer.streamed,
            events_per_s=(after - before) / (now - since) if now > since else 0.0,
            lag=self.status.lag,
            evaluated=int(quality.get("samples", 0)),
            recall=quality.get("recall@20"),
            popular_recall=quality.get("popular:recall@20"),
            window_recall=quality.get("window:recall@20"),
            window_popular_recall=quality.get("window:popular:recall@20"),
            weight=state.weight,
            phase=state.phase.value,
            stable=state.stable,
            candidate=state.candidate,
        )

    def _time_for_sabotage(self, state: RolloutState) -> bool:
        """Once a real candidate was promoted, between two rollouts; again if a newer cut came before it."""
        tried = self._sabotaged[-1] if self._sabotaged else None
        rolling_or_done = tried is not None and (
            tried == state.candidate or state.aborted_reason(tried) is not None
        )
        self._sabotages = not rolling_or_done
        waits = tried is not None and tried == self.record.snapshots[-1]
        return bool(self.record.promoted) and state.phase is Phase.STABLE and self._sabotages and not waits

    def _let_bad_candidate_in(self, state: RolloutState) -> None:
        assert state.stable is not None
        number = len(self._sabotaged) + 1
        self._sabotaged.append(sabotage(self._store, self._catalog, state.stable, number))
        told = f"{self._sabotaged[-1]}: {state.stable} with its item ids shuffled, let through on purpose"
        self.tell("Sabotage", told)

    def _say(self, told: Told) -> None:
        self.record.told.append(told)
        self._view.tell(told)
