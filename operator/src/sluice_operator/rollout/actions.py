"""What the shell carries out after a pass, in the order given, each with ``state.epoch``.

All are levels: they say how things should be, come again every pass, and doing them twice changes nothing.
What is told to people, once, is in the state (:class:`~sluice_operator.rollout.state.Note`). Routing always
comes before pods, so that nobody is sent to a pod that is being emptied; if one action fails the shell still
does the rest, because each is a lever of its own.
"""

from enum import StrEnum

import msgspec


class _Action(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="action"):
    """Base: frozen, with its name as ``action`` in JSON."""


class GroupName(StrEnum):
    """Which Deployment."""

    STABLE = "stable"
    CANARY = "canary"


class PublishRouting(_Action, frozen=True, kw_only=True):
    """Publish (or renew) the routing. ``rollout`` is empty and ``candidate`` None when nothing rolls.

    ``weight_epoch`` is the epoch of the decision that gave ``weight``, ``since`` when the rollout began (Unix
    seconds; 0 = none has).
    """

    rollout: str
    stable: str | None
    candidate: str | None
    weight: int
    weight_epoch: int = 0
    since: float = 0.0


class WantSnapshots(_Action, frozen=True, kw_only=True):
    """Tell every pod of a group which snapshots to hold; ``ids`` begins with the one a new pod needs most."""

    group: GroupName
    ids: tuple[str, ...]


class ScaleCanary(_Action, frozen=True, kw_only=True):
    """Set the canary Deployment's replicas."""

    replicas: int


class Release(_Action, frozen=True, kw_only=True):
    """Mark snapshots in the catalog as deletable; none of them makes only the epoch known there."""

    ids: tuple[str, ...]


Action = PublishRouting | WantSnapshots | ScaleCanary | Release
