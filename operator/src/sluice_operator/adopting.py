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
    reached: int = 0
    """The highest epoch that something was done at, also what names no snapshot."""

    def not_below(self, epoch: int) -> "Served":
        """Return the same where something was done at ``epoch`` too."""
        return self._replace(reached=max(self.reached, epoch))


def newest(*known: Served) -> Served:
    """Return what the highest epoch says; the first of equals."""
    return max(known, key=lambda each: each.epoch, default=Served())


def begun(written: RolloutState | None, served: Served) -> RolloutState:
    """Return the state to decide from.

    ``served`` must have been read before ``written`` was: a decision is written before it is acted upon, so that a
    higher epoch of what serves means that the status is older than it, and its decisions would be refused. If another
    snapshot serves than an older status says, it goes on serving: nobody decided to go back.
    """
    epoch = max(served.epoch, served.reached)
    if written is None:
        return _adopted(served, epoch)
    if served.epoch > written.epoch and served.stable not in (None, written.stable):
        return _taken_over(_adopted(served, epoch), written)
    return written if written.epoch >= epoch else msgspec.structs.replace(written, epoch=epoch)


def _adopted(served: Served, epoch: int) -> RolloutState:
    if served.stable is None:
        return RolloutState(epoch=epoch)
    return RolloutState(epoch=epoch, phase=Phase.STABLE, stable=served.stable, promoted=(served.stable,))


def _taken_over(adopted: RolloutState, written: RolloutState) -> RolloutState:
    """Return what serves with what people asked for and what was refused; notes are numbered on."""
    return msgspec.structs.replace(
        adopted,
        phase=adopted.phase if written.held_by is None else Phase.HELD,
        held_by=written.held_by,
        held_reason=written.held_reason,
        aborted=written.aborted,
        consumed=written.consumed,
        notes=written.notes,
    )
