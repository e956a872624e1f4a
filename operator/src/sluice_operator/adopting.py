"""Which state to begin from where the status holds none, or one older than what has already been acted upon. Pure.

A status can be lost: the RecommenderModel was deleted and applied again, or the cluster was restored from a backup.
What serves was told elsewhere with its epoch, in the routing and in ``<model>-stable``; it goes on serving. An epoch
that somebody raised by hand is gone on from likewise, where all later decisions would be refused.
"""

from typing import NamedTuple

import msgspec

from sluice_operator.rollout.state import Phase, RolloutState


class Served(NamedTuple):
    """What is known to serve, and the epoch of the decision that said so."""

    epoch: int = 0
    stable: str | None = None

    def not_below(self, epoch: int) -> "Served":
        """Return the same, of an epoch that something was done at which names no snapshot."""
        return self._replace(epoch=max(self.epoch, epoch))


def newest(*known: Served) -> Served:
    """Return what the highest epoch says; the first of equals."""
    return max(known, key=lambda each: each.epoch, default=Served())


def begun(written: RolloutState | None, served: Served) -> RolloutState:
    """Return the state to decide from.

    ``served`` must have been read before ``written`` was: a decision is written before it is acted upon, so that a
    higher epoch of what serves means that the status is older than it, and its decisions would be refused.
    """
    if written is None:
        return _adopted(served)
    return written if written.epoch >= served.epoch else msgspec.structs.replace(written, epoch=served.epoch)


def _adopted(served: Served) -> RolloutState:
    if served.stable is None:
        return RolloutState(epoch=served.epoch)
    return RolloutState(
        epoch=served.epoch, phase=Phase.STABLE, stable=served.stable, promoted=(served.stable,)
    )
