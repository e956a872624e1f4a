"""The live view: one frame that fits the terminal, drawn four times a second."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live

from sluice_cli.demo import sections
from sluice_cli.demo.record import Record, Told
from sluice_cli.demo.sections import Frame

REFRESHES_PER_S: Final = 4
TOLD_KEPT: Final = 50
MOST_TOLD: Final = 12
LEAST_TOLD: Final = 2


class LiveView:
    """A :class:`~sluice_cli.demo.view.View` in a terminal. A thread of rich's draws what was last given."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock, self._began = console, clock, clock()
        self._record: Record | None = None
        self._told: deque[Told] = deque(maxlen=TOLD_KEPT)
        self._live = Live(
            console=console,
            get_renderable=self.frame,
            refresh_per_second=REFRESHES_PER_S,
            vertical_overflow="crop",
        )
        self._live.start()

    def update(self, record: Record) -> None:
        """See :class:`~sluice_cli.demo.view.View`; costs next to nothing."""
        self._record = record

    def tell(self, told: Told) -> None:
        """See :class:`~sluice_cli.demo.view.View`."""
        self._told.append(told)

    def close(self) -> None:
        """See :class:`~sluice_cli.demo.view.View`; the last frame stays."""
        self._live.stop()

    def frame(self) -> RenderableType:
        """Return what is to be seen now."""
        if self._record is None:
            return ""
        size = self._console.size
        form = Frame(size.width, self._clock() - self._began, self._console.options.ascii_only)
        return compose(self._record, list(self._told), form, size.height)


def compose(record: Record, told: list[Told], form: Frame, height: int) -> Group:
    """Return the frame of at most ``height - 1`` lines; the story gets what the rest leaves."""
    lines = [
        *sections.head(record, form),
        *sections.quality(record, form),
        *sections.rollout(record, form),
    ]
    left = height - 2 - len(lines)
    click = sections.click(record, form)
    if left - len(click) >= LEAST_TOLD:
        lines, left = [*lines, *click], left - len(click)
    kept = told[-max(1, min(MOST_TOLD, left)) :]
    return Group(*lines, *sections.story(kept, form))
