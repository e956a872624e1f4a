"""The live screen of ``sluice top``: looks once a second, draws, obeys keys."""

import os
import select
import sys
import termios
import tty
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console, Group
from rich.live import Live

from sluice_cli.demo.sections import Frame
from sluice_cli.top.frame import VIEWS, compose
from sluice_cli.top.looking import Look
from sluice_cli.top.overview import Overview
from sluice_cli.top.reckoning import overview

INTERVAL_S: Final = 1.0
LOOKS_KEPT: Final = 6
"""Rates and latencies are over so many looks: five seconds."""
QUIT: Final = frozenset({"q", "Q", "\x03", "\x04"})


class Looks:
    """The newest looks; :meth:`overview` is over all that are kept."""

    def __init__(self, look: Callable[[], Look]) -> None:
        self._look = look
        self._kept: deque[Look] = deque(maxlen=LOOKS_KEPT)

    def take(self) -> None:
        """Look once more."""
        self._kept.append(self._look())

    def overview(self) -> Overview:
        """Return what the kept looks show."""
        return overview(self._kept[0], self._kept[-1])


def watch(look: Callable[[], Look], console: Console) -> None:
    """Draw until ``q``; raises what ``look`` raises, the terminal is as before then."""
    looks, view = Looks(look), "1"
    with _keys() as key, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            looks.take()
            form = Frame(console.size.width, 0.0, console.options.ascii_only)
            live.update(Group(*compose(looks.overview(), form, console.size.height, view)), refresh=True)
            pressed = key(INTERVAL_S)
            if pressed in QUIT:
                return
            view = pressed if pressed in VIEWS else view


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """Give a function that waits up to so many seconds for a key; empty if none was pressed."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield lambda seconds: _pressed(descriptor, seconds)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _pressed(descriptor: int, seconds: float) -> str:
    ready, _, _ = select.select([descriptor], [], [], seconds)
    return os.read(descriptor, 1).decode("ascii", "replace") if ready else ""
