"""Makes an overview of two looks. Pure."""

from collections.abc import Mapping
from typing import Final

from sluice import metrics
from sluice.metrics import Process
from sluice_cli.top import traffic
from sluice_cli.top.looking import Look, Seen, Shelf
from sluice_cli.top.overview import Learning, Overview, ProcessRow, SnapshotRow
from sluice_cli.top.pairs import Pair, between, pairs
from sluice_operator.rollout.state import RolloutState

ROLES: Final = ("stable", "candidate", "target", "waiting")
Shelves = Mapping[str, Shelf]


def overview(before: Look, now: Look) -> Overview:
    """Return what ``now`` shows, with rates since ``before``."""
    found = pairs(before, now)
    shelves = {pair.seen.process.name: pair.seen.shelf for pair in found if pair.seen.shelf is not None}
    headrooms = [each.headroom_bytes for each in shelves.values() if each.headroom_bytes is not None]
    rollouts = {model: state for pair in found for model, state in pair.seen.told.rollouts.items()}
    api = next((pair for pair in found if pair.seen.service == Process.API), None)
    trainers = [_learning(pair) for pair in found if pair.seen.service == Process.TRAINER]
    return Overview(
        at=now.at,
        interval_s=between(before, now),
        api=now.api,
        processes=_processes(before, now),
        requests=traffic.requests(api) if api else None,
        stream=traffic.stream(found),
        learning={trainer.model: trainer for trainer in trainers},
        snapshots=_snapshots(shelves, rollouts),
        headroom_bytes=min(headrooms, default=None),
        rollouts=rollouts,
    )


def _processes(before: Look, now: Look) -> list[ProcessRow]:
    earlier = {seen.process.name: seen for seen in before.processes}
    return [
        _process(seen, earlier.get(seen.process.name, seen), now.at, between(before, now))
        for seen in now.processes
    ]


def _process(seen: Seen, earlier: Seen, now: float, seconds: float) -> ProcessRow:
    cpu_s, memory, started = _used(seen)
    cpu_before, _, started_before = _used(earlier)
    cpu = None
    if cpu_s is not None and cpu_before is not None and started == started_before:
        cpu = 100 * max(0.0, cpu_s - cpu_before) / seconds
    return ProcessRow(
        name=seen.process.name,
        service=seen.service,
        url=seen.process.url,
        answers=seen.metrics is not None,
        pid=seen.process.pid,
        uptime_s=max(0.0, now - started) if started else None,
        cpu_percent=cpu,
        memory_bytes=memory,
        restarts=seen.process.restarts,
    )


def _used(seen: Seen) -> tuple[float | None, int | None, float | None]:
    """Return CPU seconds, memory and start: as seen on this machine, else as the process tells of itself."""
    if seen.usage is not None:
        return seen.usage.cpu_s, seen.usage.memory_bytes, seen.process.started
    if seen.metrics is None or seen.process.started:
        return None, None, seen.process.started or None
    memory = seen.metrics.total("process_resident_memory_bytes")
    return (
        seen.metrics.total("process_cpu_seconds_total"),
        None if memory is None else int(memory),
        seen.metrics.total("process_start_time_seconds"),
    )


def _learning(trainer: Pair) -> Learning:
    told = trainer.seen.told
    return Learning(
        model=told.model,
        algorithm=told.algorithm,
        events_per_s=trainer.rate(metrics.EVENTS_LEARNED),
        learned=told.interactions,
        evaluated=int(told.quality.get("samples", 0)),
        recall=told.quality.get("recall@20"),
        popular_recall=told.quality.get("popular:recall@20"),
        newest_recall=told.quality.get("window:recall@20"),
        newest_popular_recall=told.quality.get("window:popular:recall@20"),
        items=told.items,
        users=told.users,
        snapshots_cut=told.snapshots,
    )


def _snapshots(shelves: Shelves, rollouts: Mapping[str, RolloutState]) -> list[SnapshotRow]:
    roles = {
        snapshot: role
        for role in reversed(ROLES)
        for state in rollouts.values()
        if (snapshot := getattr(state, role)) is not None
    }
    there = {each.id for shelf in shelves.values() for each in shelf.loaded}
    there |= {each.id for shelf in shelves.values() for each in shelf.refused}
    order = sorted(roles, key=lambda snapshot: ROLES.index(roles[snapshot]))
    return [_snapshot(each, roles.get(each, ""), shelves) for each in (*order, *sorted(there - roles.keys()))]


def _snapshot(snapshot: str, role: str, shelves: Shelves) -> SnapshotRow:
    loaded = {name: each for name, shelf in shelves.items() for each in shelf.loaded if each.id == snapshot}
    refused = {name: each for name, shelf in shelves.items() for each in shelf.refused if each.id == snapshot}
    first = next(iter(loaded.values()), None)
    return SnapshotRow(
        id=snapshot,
        role=role,
        bytes=first.bytes if first else None,
        rows=first.rows if first else None,
        loaded=list(loaded),
        refused={name: each.reason for name, each in refused.items()},
    )
