"""Which levels follow from a state: routing, wanted snapshots, replicas, releases. Nothing is remembered here."""

from sluice_operator.rollout.actions import (
    Action,
    GroupName,
    PublishRouting,
    Release,
    ScaleCanary,
    WantSnapshots,
)
from sluice_operator.rollout.candidates import previous, releasable
from sluice_operator.rollout.change import Look
from sluice_operator.rollout.pods import canary_replicas
from sluice_operator.rollout.state import Phase, RolloutState


def levels(look: Look, state: RolloutState) -> tuple[Action, ...]:
    """Return how things should be in this state: routing before pods, releases last."""
    replicas = canary_replicas(look.steps, state, look.seen)
    canary = (state.candidate,) if state.candidate and replicas else ()
    return (
        _routing(state),
        WantSnapshots(group=GroupName.STABLE, ids=_stable_set(look, state)),
        WantSnapshots(group=GroupName.CANARY, ids=canary),
        ScaleCanary(replicas=replicas),
        Release(ids=releasable(look.spec, state, look.seen)),
    )


def _routing(state: RolloutState) -> PublishRouting:
    """Return the routing. The first snapshot is nobody's candidate: there is nothing to compare it with."""
    candidate = state.candidate if state.stable is not None else None
    return PublishRouting(
        rollout=state.rollout,
        stable=state.stable,
        candidate=candidate,
        weight=state.weight,
        weight_epoch=state.weight_epoch,
        since=state.rollout_started_at or 0.0,
    )


def _stable_set(look: Look, state: RolloutState) -> tuple[str, ...]:
    """Return what stable pods hold: stable, and beside it what comes, else what was before.

    While the candidate is loaded for its promotion the one before stable makes room, so that a pod never
    holds three.
    """
    promoting = state.phase == Phase.PROMOTING or (
        state.phase == Phase.PAUSED and state.step >= len(look.steps)
    )
    beside = state.target or (state.candidate if promoting else previous(state, look.seen))
    return tuple(snapshot for snapshot in (state.stable, beside) if snapshot)
