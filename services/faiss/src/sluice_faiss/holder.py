"""Holds the wanted snapshots of one worker: looks, loads, swaps, lets go.

Searches read ``units``, an immutable mapping that is replaced as a whole; a unit that left it is unmapped
when the last request that took it has ended.
"""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import structlog

from sluice import instruments, metrics
from sluice.catalog import Catalog, CatalogEntry
from sluice.errors import SluiceError, SnapshotRefused
from sluice.overlay import OverlayState
from sluice.snapshot.unit import Unit
from sluice_faiss.bound import Bound
from sluice_faiss.cache import Cache
from sluice_faiss.wanted import (
    LoadedSnapshot,
    Refusal,
    RefusedSnapshot,
    Wanted,
    WorkerState,
    at_once,
    refusal,
    to_drop,
    to_load,
)

_log = structlog.get_logger()
_LOADED = instruments.gauge(metrics.SNAPSHOTS_LOADED)
_REFUSALS = instruments.counter(metrics.SNAPSHOTS_REFUSED)
_LOAD_SECONDS = instruments.histogram(metrics.SNAPSHOT_LOAD_SECONDS)


class Held(NamedTuple):
    """An opened unit, bound to the overlay, and what is told about it."""

    unit: Unit
    told: LoadedSnapshot
    bound: Bound


class Holder:
    """``wanted`` returns what is asked for now; ``tell`` is called whenever the state has changed.

    ``bind`` lets a unit follow the overlay, ``overlay`` says how far that has come.
    """

    def __init__(
        self,
        wanted: Callable[[], Wanted],
        catalog: Catalog,
        cache: Cache,
        tell: Callable[[WorkerState], None],
        bind: Callable[[Unit], Bound],
        overlay: Callable[[], OverlayState],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wanted, self._catalog, self._cache, self._tell, self._clock = (
            wanted,
            catalog,
            cache,
            tell,
            clock,
        )
        self._bind, self._overlay = bind, overlay
        self._refused: dict[str, Refusal] = {}
        self._told: WorkerState | None = None
        self.units: Mapping[str, Held] = MappingProxyType({})
        self.settled = threading.Event()

    def look(self) -> None:
        """One round: load what is wanted, drop what is not, tell the others."""
        wanted = self._wanted()
        self._refused = {key: why for key, why in self._refused.items() if key in wanted.ids}
        for snapshot in to_load(wanted, self.units.keys(), self._refused, self._clock()):
            self._load(snapshot)
            self._publish(wanted)
        dropped = to_drop(wanted, self.units.keys())
        if dropped:
            self._swap({key: held for key, held in self.units.items() if key not in dropped})
            self._cache.prune(self._kept)
            self._refused = {key: at_once(why) for key, why in self._refused.items()}
            _log.info("snapshots dropped", snapshots=sorted(dropped))
        self._publish(wanted)
        self.settled.set()

    def _kept(self) -> set[str]:
        return set(self._wanted().ids) | set(self.units)

    def _load(self, snapshot: str) -> None:
        try:
            with _LOAD_SECONDS.time():
                held = self._open(snapshot)
        except (SluiceError, OSError) as error:
            self._refused[snapshot] = refusal(self._refused.get(snapshot), str(error), self._clock())
            _REFUSALS.inc()
            _log.warning("snapshot refused", snapshot=snapshot, reason=str(error))
            return
        self._refused.pop(snapshot, None)
        self._swap({**self.units, snapshot: held})
        _log.info("snapshot serves", snapshot=snapshot, rows=held.told.rows, bytes=held.told.bytes)

    def _open(self, snapshot: str) -> Held:
        entry = self._catalog.get(snapshot)
        if entry is None:
            raise SnapshotRefused(f"{snapshot} has no catalog entry; only committed snapshots serve")
        copy = self._cache.fetch(entry, self._kept)
        try:
            return opened(copy, entry, self._bind)
        except SnapshotRefused:
            self._cache.forget(snapshot)
            raise

    def _swap(self, units: dict[str, Held]) -> None:
        self.units = MappingProxyType(units)
        _LOADED.set(len(units))

    def _publish(self, wanted: Wanted) -> None:
        state = WorkerState(
            wanted=wanted.ids,
            wanted_at=wanted.at,
            loaded=tuple(held.told for held in self.units.values()),
            refused=(
                *(RefusedSnapshot(key, why.reason) for key, why in self._refused.items()),
                *(
                    RefusedSnapshot(word, "not a usable snapshot id; name at most 16")
                    for word in wanted.unusable
                ),
            ),
            overlay=self._overlay(),
        )
        if state != self._told:
            self._tell(state)
            self._told = state


def opened(copy: Path, entry: CatalogEntry, bind: Callable[[Unit], Bound]) -> Held:
    """Map a verified copy, warm it, let it follow the overlay."""
    unit = Unit.open(copy)
    unit.warm()
    told = LoadedSnapshot(entry.id, entry.digest, len(unit.items.ids), unit.manifest.bytes)
    return Held(unit, told, bind(unit))
