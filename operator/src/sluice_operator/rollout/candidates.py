"""Which snapshot may roll, which waits, which to go back to, which may be deleted."""

from sluice.model import ModelSpec
from sluice_operator.rollout.gates import snapshot_refusal
from sluice_operator.rollout.observation import Observation, SnapshotInfo
from sluice_operator.rollout.state import RolloutState


def newest_eligible(spec: ModelSpec, state: RolloutState, seen: Observation) -> str | None:
    """Return the newest snapshot that may roll; None if there is none.

    It is newer than stable, candidate and every aborted snapshot (what waited behind a newer one is never
    taken up again), was cut under the current spec, is verified and passes the Snapshot gates. If there is no
    such one, it is the one that a person wants tried again.
    """
    fresh = (info.id for info in _newer(state, seen) if _unfit(spec, seen, info) is None)
    newest = next(fresh, None)
    again = newest is None and state.retried is not None
    return state.retried if again and retry_refusal(spec, state, seen, state.retried) is None else newest


def refusal_of_newest(spec: ModelSpec, state: RolloutState, seen: Observation) -> str:
    """Return why the newest snapshot that nobody decided about does not roll; empty if there is none."""
    newest = _newer(state, seen)[:1]
    return (_unfit(spec, seen, newest[0]) or "") if newest else ""


def retry_refusal(
    spec: ModelSpec, state: RolloutState, seen: Observation, snapshot: str | None
) -> str | None:
    """Return why a snapshot could not roll although a person asked for it again; None if it could."""
    info = seen.snapshot(snapshot)
    if info is None:
        return f"the catalog does not list {snapshot}"
    if not newer_than(seen, info.id, state.stable):
        return f"{info.id} is not newer than stable {state.stable}; roll back to it instead"
    return _unfit(spec, seen, info)


def newer_than(seen: Observation, snapshot: str | None, other: str | None) -> bool:
    """Return whether a snapshot was committed after another one; also if the other is not listed."""
    order = [info.id for info in seen.snapshots]
    return snapshot in order and (other not in order or order.index(snapshot) > order.index(other))


def _unfit(spec: ModelSpec, seen: Observation, info: SnapshotInfo) -> str | None:
    """Return why a snapshot may not roll, whatever was decided about it; None if it may."""
    if info.spec_hash != seen.spec_hash:
        return f"{info.id} was cut under an older spec"
    if not info.verified:
        return f"{info.id} is not verified yet"
    refusal = snapshot_refusal(spec.rollout.gates, info)
    return f"{info.id} does not pass {refusal}" if refusal else None


def _newer(state: RolloutState, seen: Observation) -> list[SnapshotInfo]:
    """Return the snapshots after the last one that something was decided about, newest first."""
    settled = {state.stable, state.candidate, *(entry.id for entry in state.aborted)}
    newer: list[SnapshotInfo] = []
    for info in reversed(seen.snapshots):
        if info.id in settled:
            break
        newer.append(info)
    return newer


def usable(spec: ModelSpec, seen: Observation, snapshot: str | None) -> bool:
    """Return whether one may go (back) to a snapshot: listed, verified, Snapshot gates passed; any spec's."""
    info = seen.snapshot(snapshot)
    return info is not None and info.verified and snapshot_refusal(spec.rollout.gates, info) is None


def previous(state: RolloutState, seen: Observation) -> str | None:
    """Return the snapshot promoted before stable, which stays loaded for a rollback; None if there is none."""
    for snapshot in state.promoted:
        known = seen.snapshot(snapshot) is not None
        if snapshot != state.stable and known and state.aborted_reason(snapshot) is None:
            return snapshot
    return None


def releasable(spec: ModelSpec, state: RolloutState, seen: Observation) -> tuple[str, ...]:
    """Return the snapshots that may be deleted, oldest first.

    Never stable, candidate, the waiting one, one wanted again, the pinned one, a rollback's target, or one of
    the last three promoted before stable; nor the newest ``historyLimit``.
    """
    steered = {state.retried, state.target, spec.snapshots.pin}
    needed = {state.stable, state.candidate, state.waiting, *steered, *state.promoted}
    old = seen.snapshots[: -spec.snapshots.history_limit]
    return tuple(info.id for info in old if info.id not in needed)
