"""What the shell carries out after a pass, in the order given, each with ``state.epoch``.

All but :class:`Note` are levels: they say how things should be, come again every pass, and doing them twice
changes nothing. Routing always comes before pods, so that nobody is sent to a pod that is being emptied; if
one action fails the shell still does the rest, because each is a lever of its own.
"""

from enum import StrEnum

import msgspec


class _Action(msgspec.Struct, frozen=True, kw_only=True, tag=True, tag_field="action"):
    """Base: frozen, with its name as ``action`` in JSON."""


class GroupName(StrEnum):
    """Which Deployment."""

    STABLE = "stable"
    CANARY = "canary"


class NoteType(StrEnum):
    """Kubernetes' two types of Event."""

    NORMAL = "Normal"
    WARNING = "Warning"


class PublishRouting(_Action, frozen=True, kw_only=True):
    """Publish (or renew) the routing. ``rollout`` is empty and ``candidate`` None when nothing rolls."""

    rollout: str
    stable: str | None
    candidate: str | None
    weight: int


class WantSnapshots(_Action, frozen=True, kw_only=True):
    """Tell every pod of a group which snapshots to hold; ``ids`` begins with the one a new pod needs most."""

    group: GroupName
    ids: tuple[str, ...]


class ScaleCanary(_Action, frozen=True, kw_only=True):
    """Set the canary Deployment's replicas."""

    replicas: int


class Release(_Action, frozen=True, kw_only=True):
    """Mark snapshots in the catalog as deletable."""

    ids: tuple[str, ...]


class Note(_Action, frozen=True, kw_only=True):
    """One decision for people: an Event and a log line. ``reason`` is CamelCase, ``message`` has the numbers."""

    type: NoteType
    reason: str
    message: str


Action = PublishRouting | WantSnapshots | ScaleCanary | Release | Note
