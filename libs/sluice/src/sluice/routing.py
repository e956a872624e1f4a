"""Routing: which snapshot answers whom. Written by the operator, read by recommenders and trainers."""

from hashlib import blake2b
from typing import Final, Protocol

import msgspec

from sluice.errors import StorageUnavailable

BUCKETS: Final = 10_000
CANDIDATE_TTL_S: Final = 120.0
"""A candidate's weight ends so long after the last renewal: a dead operator ends in 100 % stable."""


class Routing(msgspec.Struct, frozen=True, kw_only=True):
    """``weight`` is the candidate's share in percent; ``renewed`` Unix seconds; ``epoch`` fences writers.

    ``weight_epoch`` is the epoch of the decision that gave this weight: what is measured under it is told
    apart from what was measured under an equal weight given before. ``since`` is when the rollout began, Unix
    seconds (0 = not told).
    """

    epoch: int
    rollout: str
    stable: str | None
    candidate: str | None
    weight: int
    renewed: float
    weight_epoch: int = 0
    since: float = 0.0


def bucket(rollout: str, subject: str) -> int:
    """Return the bucket in [0, 10000) of a user or session; another rollout deals the users anew."""
    digest = blake2b(f"{rollout}\0{subject}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % BUCKETS


def track(routing: Routing, subject: str, now: float) -> str:
    """Return ``candidate`` or ``stable``; raising the weight only moves subjects to the candidate."""
    live = now - routing.renewed < CANDIDATE_TTL_S
    if routing.candidate and live and bucket(routing.rollout, subject) < routing.weight * (BUCKETS // 100):
        return "candidate"
    return "stable"


class RoutingStore(Protocol):
    """Port: the routing of one model."""

    def publish(self, routing: Routing) -> None:
        """Store it; raises :class:`~sluice.errors.StaleEpoch` if a higher epoch is stored."""

    def read(self) -> Routing | None:
        """Return what was published last."""


class Remembered:
    """:class:`RoutingStore` that says what was published last also while its store cannot answer.

    For who goes on with it all the same, as a trainer does: learning does not wait for a cache.
    """

    def __init__(self, store: RoutingStore) -> None:
        self._store, self._known = store, False
        self._last: Routing | None = None

    def publish(self, routing: Routing) -> None:
        """See :class:`RoutingStore`."""
        self._store.publish(routing)

    def read(self) -> Routing | None:
        """See :class:`RoutingStore`; raises :class:`~sluice.errors.StorageUnavailable` until it answered once."""
        try:
            self._last, self._known = self._store.read(), True
        except StorageUnavailable:
            if not self._known:
                raise
        return self._last
