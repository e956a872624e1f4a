"""The last words of a process: what its loops write is written once more, within bounds."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sluice.loops import Loop


class Last(NamedTuple):
    """A loop that ends, and what to do once more after its last round."""

    loop: Loop
    write: Callable[[], None]

    def say(self) -> None:
        """Wait for the round that the loop is in, then write."""
        self.loop.stop()
        self.write()


def ask(loops: Sequence[Loop]) -> None:
    """Ask all loops to end before any of them is waited for."""
    for loop in loops:
        loop.stop(0.0)


def finish(lasts: Sequence[Last], within_s: float) -> None:
    """Say all last words at once; returns when they are said, after ``within_s`` at the latest."""
    until = time.monotonic() + within_s
    threads = [threading.Thread(target=last.say, name="last words", daemon=True) for last in lasts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
