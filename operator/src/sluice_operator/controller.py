"""The controller: observe, decide, write the decision down, act. The same loop on every platform.

Everything it talks to is a port, so that processes on one machine and pods on Kubernetes are driven by the
same code. Level-based: a pass starts from what is there, so a missed event costs only time. A decision is
written with the version its state was read at *before* anything is done; if somebody else wrote meanwhile,
it is thrown away. Every action carries the epoch of its decision, and a lower one is refused.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Protocol

import structlog

from sluice.catalog import Catalog, CatalogEntry
from sluice.errors import SluiceError, StaleEpoch
from sluice.evidence import EvidenceStore
from sluice.model import ModelSpec, spec_hash
from sluice.routing import Routing, RoutingStore
from sluice_operator.news import News
from sluice_operator.rollout.actions import (
    Action,
    GroupName,
    PublishRouting,
    Release,
    ScaleCanary,
    WantSnapshots,
)
from sluice_operator.rollout.observation import Command, Fleet, Observation, SnapshotInfo
from sluice_operator.rollout.state import Note, NoteType, RolloutState
from sluice_operator.rollout.step import step

_LOG = structlog.get_logger()


class StatusStore(Protocol):
    """Port: the remembered state, with optimistic locking."""

    def read(self) -> tuple[int, RolloutState]:
        """Return (version, state); version 0 and a fresh state if there is none yet."""

    def write(self, state: RolloutState, version: int) -> None:
        """Store ``state``; raises :class:`~sluice.errors.Conflict` if ``version`` is not the present one."""


class Commands(Protocol):
    """Port: what people asked for, in order. Consumed ones may be returned again; the state knows them."""

    def pending(self) -> tuple[Command, ...]:
        """Return the newest commands, oldest first."""


class FleetPort(Protocol):
    """Port: the serving pods (or processes)."""

    def observe(self) -> Fleet:
        """Return both groups as they are now."""

    def want(self, group: GroupName, snapshots: tuple[str, ...], epoch: int) -> None:
        """Tell every pod of ``group`` which snapshots to hold."""

    def scale_canary(self, replicas: int, epoch: int) -> None:
        """Set the canary group's size."""


class Notes(Protocol):
    """Port: decisions told to people (Kubernetes Events, or a table)."""

    def record(self, note: Note) -> bool:
        """Record one; False, and nothing done, if its number was recorded already."""


class Controller:
    """Rolls the snapshots of one model out."""

    def __init__(
        self,
        spec: ModelSpec,
        *,
        status: StatusStore,
        commands: Commands,
        fleet: FleetPort,
        notes: Notes,
        catalog: Catalog,
        evidence: EvidenceStore,
        routing: RoutingStore,
        verified: Callable[[CatalogEntry], bool],
    ) -> None:
        self.spec = spec
        self._status, self._commands, self._fleet, self._notes = status, commands, fleet, notes
        self._catalog, self._evidence, self._routing = catalog, evidence, routing
        self._verified = verified
        self._told = 0
        self._failing: defaultdict[str, News] = defaultdict(News)
        self._untold = News()

    def reconcile(self, now: float) -> RolloutState:
        """Do one pass at ``now`` (Unix seconds) and return the state it left.

        Raises :class:`~sluice.errors.Conflict` if the state was written by somebody else meanwhile (nothing
        was done then), and :class:`~sluice.errors.StaleEpoch` if an action met a higher epoch.
        """
        version, state = self._status.read()
        after, actions = step(self.spec, state, self._observe(state), now)
        if after != state:
            self._status.write(after, version)
        if after.rollout != state.rollout:
            self._evidence.purge({after.rollout, state.rollout})
        for action in actions:
            self._attempt(action, after.epoch, now)
        self._tell(after)
        return after

    def _observe(self, state: RolloutState) -> Observation:
        entries = [entry for entry in self._catalog.entries() if not entry.released]
        return Observation(
            spec_hash=spec_hash(self.spec),
            snapshots=tuple(self._info(entry) for entry in entries),
            fleet=self._fleet.observe(),
            evidence=self._evidence.totals(state.rollout, state.weight_epoch),
            evidence_rollout=state.rollout,
            evidence_weight_epoch=state.weight_epoch,
            commands=self._commands.pending(),
        )

    def _info(self, entry: CatalogEntry) -> SnapshotInfo:
        return SnapshotInfo(
            id=entry.id,
            spec_hash=entry.spec_hash,
            metrics=entry.metrics,
            verified=self._verified(entry),
            bytes=entry.bytes,
        )

    def _attempt(self, action: Action, epoch: int, now: float) -> None:
        """Carry one action out; a failing one is logged, once for each reason, and comes again with the next pass."""
        name = _name(action)
        try:
            self._carry_out(action, epoch, now)
        except StaleEpoch:
            raise
        except (SluiceError, OSError) as error:
            if self._failing[name].broke(str(error)):
                _LOG.error(
                    "action failed, the next pass tries it again", action=name, epoch=epoch, reason=str(error)
                )
        else:
            if self._failing[name].mended():
                _LOG.info("action succeeds again", action=name, epoch=epoch)

    def _carry_out(self, action: Action, epoch: int, now: float) -> None:
        match action:
            case PublishRouting():
                self._routing.publish(routing_of(action, epoch, now))
            case WantSnapshots(group=group, ids=ids):
                self._fleet.want(group, ids, epoch)
            case ScaleCanary(replicas=replicas):
                self._fleet.scale_canary(replicas, epoch)
            case Release(ids=ids):
                self._catalog.release(set(ids), epoch)

    def _tell(self, state: RolloutState) -> None:
        """Record the notes that this process has not told yet, also those that one before it left."""
        for note in state.notes:
            if note.number <= self._told:
                continue
            try:
                recorded = self._notes.record(note)
            except (SluiceError, OSError) as error:  # the next pass tells it
                if self._untold.broke(str(error)):
                    _LOG.error("decision cannot be told now", number=note.number, reason=str(error))
                return
            self._untold.mended()
            if recorded:
                _say(note, state.rollout)
            self._told = note.number


def _name(action: Action) -> str:
    """Return what tells an action from the others of a pass."""
    kind = type(action).__name__
    return f"{kind} {action.group}" if isinstance(action, WantSnapshots) else kind


def _say(note: Note, rollout: str) -> None:
    say = _LOG.warning if note.type is NoteType.WARNING else _LOG.info
    say("rollout decided", reason=note.reason, message=note.message, epoch=note.epoch, rollout=rollout)


def routing_of(action: PublishRouting, epoch: int, now: float) -> Routing:
    """Return the routing that an action asks for, renewed at ``now`` (Unix seconds)."""
    return Routing(
        epoch=epoch,
        rollout=action.rollout,
        stable=action.stable,
        candidate=action.candidate,
        weight=action.weight,
        weight_epoch=action.weight_epoch,
        since=action.since,
        renewed=now,
    )
