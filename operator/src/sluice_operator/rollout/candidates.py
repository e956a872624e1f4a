"""Which snapshot may roll, which waits, which to go back to, which may be deleted."""

from sluice.model import ModelSpec
from sluice_operator.rollout.gates import snapshot_refusal
from sluice_operator.rollout.observation import Observation, SnapshotInfo
from sluice_operator.rollout.state import RolloutState


def newest_eligible(spec: ModelSpec, state: RolloutState, seen: Observation) -> str | None:
    """Return the newest snapshot that may roll; None if there is none.

    It is newer than stable, candidate and every aborted snapshot (what waited behind a newer one is never
    taken up again), was cut under the current spec, is verified and passes the Snapshot gates.
    """
    fresh = (info for info in _newer(state, seen) if info.spec_hash == seen.spec_hash and info.verified)
    return next((info.id for info in fresh if snapshot_refusal(spec.rollout.gates, info) is None), None)


def refusal_of_newest(spec: ModelSpec, state: RolloutState, seen: Observation) -> str:
    """Return why the newest snapshot that nobody decided about does not roll; empty if there is none."""
    for info in _newer(state, seen)[:1]:
        if info.spec_hash != seen.spec_hash:
            return f"{info.id} was cut under an older spec"
        if not info.verified:
            return f"{info.id} is not verified yet"
        refusal = snapshot_refusal(spec.rollout.gates, info)
        return f"{info.id} does not pass {refusal}" if refusal else ""
    return ""


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

    Never stable, candidate, the waiting one, the pinned one, a rollback's target, or one of the last three
    promoted before stable; nor the newest ``historyLimit``.
    """
    needed = {state.stable, state.candidate, state.waiting, state.target, spec.snapshots.pin, *state.promoted}
    old = seen.snapshots[: -spec.snapshots.history_limit]
    return tuple(info.id for info in old if info.id not in needed)
