"""What the shell gathers before each pass. The rollout decides from this and its state, and from nothing else."""

from enum import StrEnum

import msgspec

from sluice.evidence import EvidenceTotals


class _Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Base: frozen."""


class SnapshotInfo(_Seen, frozen=True, kw_only=True):
    """A snapshot of the catalog that has not been released.

    ``verified`` = its entry's digest and files were checked; ``bytes`` is what it takes in a pod's memory.
    """

    id: str
    spec_hash: str
    metrics: dict[str, float] = {}
    verified: bool = True
    bytes: int = 0


class Pod(_Seen, frozen=True, kw_only=True):
    """One Faiss pod as it reports itself.

    ``loaded`` holds the snapshots it has verified and serves, ``refused`` those it will not load with the
    reason, ``wanted`` what it was told. ``headroom_bytes`` is the memory left; None = it did not say. ``source``
    is whose items and users it follows; None likewise.
    """

    name: str
    ready: bool
    loaded: frozenset[str] = frozenset()
    refused: dict[str, str] = {}
    headroom_bytes: int | None = None
    wanted: frozenset[str] = frozenset()
    source: str | None = None


class Group(_Seen, frozen=True, kw_only=True):
    """A Deployment's pods without the terminating ones; ``desired`` is its replica count."""

    desired: int = 0
    pods: tuple[Pod, ...] = ()


class Fleet(_Seen, frozen=True, kw_only=True):
    """Both groups of serving pods (processes on one machine)."""

    stable: Group = Group()
    canary: Group = Group()


class Verb(StrEnum):
    """What a person may ask for; :mod:`sluice_operator.rollout.commands` says what each does."""

    PROMOTE = "promote"
    ABORT = "abort"
    RETRY = "retry"
    PAUSE = "pause"
    RESUME = "resume"
    ROLLBACK = "rollback"


class Command(_Seen, frozen=True, kw_only=True):
    """A verb with its own id. ``snapshot`` and ``step`` tell what the person saw; None = whatever is there.

    For ``rollback`` and ``retry``, ``snapshot`` names the one to go back to or to try again.
    """

    id: str
    verb: Verb
    snapshot: str | None = None
    step: int | None = None


class Observation(_Seen, frozen=True, kw_only=True):
    """All that is observed in one pass.

    ``snapshots`` are in commit order, oldest first. ``spec_hash`` is that of the spec now in force, in the
    same terms as :attr:`SnapshotInfo.spec_hash`. ``evidence`` was added up for ``evidence_rollout`` and
    ``evidence_weight_epoch``: evidence of another rollout is not used, requests under a weight that was given
    at another epoch neither.
    """

    spec_hash: str
    snapshots: tuple[SnapshotInfo, ...] = ()
    fleet: Fleet = Fleet()
    evidence: EvidenceTotals = EvidenceTotals()
    evidence_rollout: str = ""
    evidence_weight_epoch: int = 0
    commands: tuple[Command, ...] = ()

    def snapshot(self, snapshot: str | None) -> SnapshotInfo | None:
        """Return a snapshot by id; None if the catalog does not list it."""
        return next((info for info in self.snapshots if info.id == snapshot), None)
