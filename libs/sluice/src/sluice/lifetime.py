"""How long a process works: until SIGTERM or SIGINT, or until it is to begin anew with what has changed.

To begin anew it executes itself once more: no thread, connection or metric of the old life is left, and its process
id, which is what a container runtime and its probes know, stays.
"""

import os
import signal
import sys
import threading
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Lifetime:
    """``over`` is set when the process is to stop what it does; ``anew`` says that it begins again then."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._told = self._anew = False

    @property
    def anew(self) -> bool:
        """Whether it ends only to begin again; a signal weighs more."""
        return self._anew and not self._told

    def listen(self) -> None:
        """Heed the signals, those held back while the process began anew as well.

        Early on: process 1 of a container is not ended by a signal that it does not heed.
        """
        for number in _SIGNALS:
            signal.signal(number, self._stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _stop(self, *_: object) -> None:
        self._told = True
        self.over.set()

    def begin_anew(self) -> None:
        """Have the process end its work as on SIGTERM, and begin again."""
        self._anew = True
        self.over.set()

    def end(self) -> None:
        """Return if the process is to end; begin it again, with the same arguments, if that was asked for."""
        if not self.anew:
            return
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # what comes now is heeded by who comes next
        if self.anew:
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # that is the point
