"""Arithmetic over pods: how many are needed, are they ready, do they have room. No API calls."""

from sluice.model import Step
from sluice_operator.rollout.observation import Group, Observation, Pod, SnapshotInfo
from sluice_operator.rollout.state import ROLLING, Phase, RolloutState


def weight_at(steps: tuple[Step, ...], step: int) -> int:
    """Return the candidate's weight in percent at a step: the last ``setWeight`` up to and including it, else 0."""
    given = [each.set_weight for each in steps[: step + 1] if each.set_weight is not None]
    return given[-1] if given else 0


def canary_needed(stable_replicas: int, weight: int) -> int:
    """Return the canary pods that carry a weight: ceil(stable · weight / 100), at least 1; 0 at weight 0.

    >>> [canary_needed(10, weight) for weight in (0, 1, 5, 50, 55, 100)]
    [0, 1, 1, 5, 6, 10]
    """
    return max(1, -(-stable_replicas * weight // 100)) if weight > 0 else 0


def canary_replicas(steps: tuple[Step, ...], state: RolloutState, seen: Observation) -> int:
    """Return the replicas the canary Deployment should have: enough for the present and the coming weight."""
    if state.phase not in ROLLING:
        return 0
    coming = 0 if state.phase == Phase.BLOCKED else weight_at(steps, state.step)
    return canary_needed(seen.fleet.stable.desired, max(state.weight, coming))


def serving(group: Group, snapshot: str | None) -> int:
    """Return how many pods of a group are ready and have a snapshot loaded."""
    return sum(1 for pod in group.pods if pod.ready and snapshot in pod.loaded)


def canary_can_take(state: RolloutState, seen: Observation, weight: int) -> bool:
    """Return whether enough canary pods are ready with the candidate loaded to be given ``weight``."""
    return serving(seen.fleet.canary, state.candidate) >= canary_needed(seen.fleet.stable.desired, weight)


def canary_lost(state: RolloutState, seen: Observation) -> bool:
    """Return whether the canary pods no longer carry the weight they were given.

    Counted against the pods that were there when it was given, so that a stable group that grows meanwhile
    does not take the weight away, nor one that shrinks.
    """
    needed = min(state.canary_granted, canary_needed(seen.fleet.stable.desired, state.weight))
    return state.weight > 0 and serving(seen.fleet.canary, state.candidate) < max(1, needed)


def loaded_by_all(group: Group, snapshot: str | None) -> bool:
    """Return whether every pod the group should have is ready with a snapshot loaded; False for no pods."""
    wanted = max(1, group.desired, len(group.pods))
    return serving(group, snapshot) >= wanted


def loaded_by_ready(group: Group, snapshot: str | None) -> bool:
    """Return whether every *ready* pod has a snapshot loaded, at least one: enough to go back, broken pods or not.

    If no pod is ready, one that has it is enough: none can be where stable itself is what cannot be loaded.
    """
    ready = [pod for pod in group.pods if pod.ready] or [pod for pod in group.pods if snapshot in pod.loaded]
    return bool(ready) and all(snapshot in pod.loaded for pod in ready)


def missing_bytes(state: RolloutState, seen: Observation) -> int:
    """Return the bytes that the fullest stable pod lacks to hold the candidate beside stable; 0 = all have room.

    What a pod holds besides those two goes before a promotion, so it counts as room. A pod that did not
    report its headroom counts as having room: it would refuse by itself.
    """
    candidate = seen.snapshot(state.candidate)
    if candidate is None:
        return 0
    return max((_lacking(pod, candidate, state, seen) for pod in seen.fleet.stable.pods), default=0)


def _lacking(pod: Pod, candidate: SnapshotInfo, state: RolloutState, seen: Observation) -> int:
    if pod.headroom_bytes is None or candidate.id in pod.loaded:
        return 0
    leaving = pod.loaded - {candidate.id, state.stable}
    room = pod.headroom_bytes + sum(info.bytes for info in seen.snapshots if info.id in leaving)
    return max(0, candidate.bytes - room)


def lagging(group: Group, snapshot: str | None) -> str:
    """Return which pods a promotion or a weight still waits for, with what they say: at most three."""
    late = [pod for pod in group.pods if not pod.ready or snapshot not in pod.loaded]
    if not late:
        return f"{len(group.pods)} of {group.desired} pods exist"
    words = [f"{pod.name} {_why(pod, snapshot)}" for pod in late[:3]]
    return ", ".join(words) + (f" and {len(late) - 3} more" if len(late) > 3 else "")


def _why(pod: Pod, snapshot: str | None) -> str:
    refusal = pod.refused.get(snapshot or "")
    if refusal is not None:
        return f"refuses it ({refusal[:120]})"
    return "is not ready" if not pod.ready else "is loading it"
