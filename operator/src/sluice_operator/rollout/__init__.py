"""The pure rollout: how one snapshot after another is let through, or not.

``step`` is the whole of it; the other names are its inputs and outputs.
"""

from sluice_operator.rollout.actions import (
    Action,
    GroupName,
    PublishRouting,
    Release,
    ScaleCanary,
    WantSnapshots,
)
from sluice_operator.rollout.observation import Command, Fleet, Group, Observation, Pod, SnapshotInfo, Verb
from sluice_operator.rollout.state import (
    Aborted,
    HeldBy,
    Measurement,
    Note,
    NoteType,
    PausedBy,
    Phase,
    RolloutState,
    Verdict,
)
from sluice_operator.rollout.step import step
from sluice_operator.rollout.table import TABLE, Event, IllegalMove

__all__ = [
    "TABLE",
    "Aborted",
    "Action",
    "Command",
    "Event",
    "Fleet",
    "Group",
    "GroupName",
    "HeldBy",
    "IllegalMove",
    "Measurement",
    "Note",
    "NoteType",
    "Observation",
    "PausedBy",
    "Phase",
    "Pod",
    "PublishRouting",
    "Release",
    "RolloutState",
    "ScaleCanary",
    "SnapshotInfo",
    "Verb",
    "Verdict",
    "WantSnapshots",
    "step",
]
