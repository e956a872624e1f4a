"""What the profiles process tells its probes: ready once it is a member of its group, healthy while its loop turns.

A store that is away makes it neither: the loop turns and waits, and starting again would not bring the store back.
"""

from typing import Final, Protocol

STUCK_S: Final = 120.0
"""A round takes seconds at the most; after a minute the group gives a member up."""
NOT_JOINED: Final = "not a member of the group yet: the event log does not answer, or others still leave"


class Turning(Protocol):
    """What works in rounds as a member of a group."""

    @property
    def turned_at(self) -> float:
        """When the last round began, monotonic seconds."""

    @property
    def joined(self) -> bool:
        """Whether the group has taken it in."""


class Health:
    """Of a process that may still wait for its model or its stores: then it is healthy, and ready if ``idle``."""

    def __init__(self) -> None:
        self.idle = False
        self.process: Turning | None = None

    def stuck(self, now: float) -> str | None:
        """Return why to start the process again, None if there is no reason."""
        if self.process is None or now - self.process.turned_at < STUCK_S:
            return None
        return f"no round has begun for {now - self.process.turned_at:.0f} s"

    def not_ready(self) -> str | None:
        """Return why it does not work yet, None if it does or has nothing to do."""
        if self.idle or (self.process is not None and self.process.joined):
            return None
        return NOT_JOINED
