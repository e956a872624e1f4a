"""Asks the local controller for something and says what became of it."""

import time
import uuid
from collections.abc import Callable
from typing import Final, NamedTuple

from sluice_operator.embedded import EmbeddedRollout, RecordedNote
from sluice_operator.rollout.observation import Command, Verb
from sluice_operator.rollout.state import RolloutState

WAIT_S = 5.0
NOTE_WAIT_S: Final = 0.5
_POLL_S: Final = 0.05
_NAMES_TARGET: Final = (Verb.ROLLBACK, Verb.RETRY)


class Outcome(NamedTuple):
    """What became of a command: ``consumed`` by a controller or not, and what it told since."""

    command: Command
    consumed: bool
    notes: list[RecordedNote]

    @property
    def done(self) -> bool:
        """Return whether it took effect."""
        return self.consumed and not self.ignored

    @property
    def ignored(self) -> str:
        """Return the controller's reason for doing nothing; empty if it did something."""
        mine = f"({self.command.id})"
        found = (
            note for _, _, _, note in self.notes if note.reason == "CommandIgnored" and mine in note.message
        )
        return next((note.message.partition(f"{mine}: ")[2] for note in found), "")


def command_for(verb: Verb, seen: RolloutState, target: str | None = None) -> Command:
    """Return the command that says what the person saw, so that it does nothing once that has changed.

    ``promote`` carries candidate and step (it skips one step); ``abort``, ``pause`` and ``resume`` carry the
    candidate only, for they mean it at whatever step it is by then; the others carry their ``target``.
    """
    named = target if verb in _NAMES_TARGET else seen.candidate or seen.stable
    step = seen.step if verb == Verb.PROMOTE else None
    return Command(id=str(uuid.uuid4()), verb=verb, snapshot=named, step=step)


def ask(rollout: EmbeddedRollout, command: Command) -> Outcome:
    """Append ``command``, wait until it is consumed (at most ``WAIT_S``) and return what was told since."""
    told = rollout.notes()
    last = told[-1].sequence if told else 0
    rollout.ask(command)
    consumed = _wait(lambda: command.id in rollout.read()[1].consumed, WAIT_S)
    if consumed:  # the state is written first, its notes just after
        _wait(lambda: bool(rollout.notes(last)), NOTE_WAIT_S)
    return Outcome(command, consumed, rollout.notes(last))


def _wait(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True
