"""A background thread that does one thing again and again, and survives its failures."""

import threading
from collections.abc import Callable

import structlog

_log = structlog.get_logger()


class Loop:
    """Calls ``work`` every ``interval_s`` until stopped; an exception is logged and the next round comes."""

    def __init__(self, name: str, interval_s: float, work: Callable[[], None]) -> None:
        self._name, self._interval_s, self._work = name, interval_s, work
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; call after the fork."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ask the thread to end, and wait for the round it is in."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_s):
            self.once()

    def once(self) -> bool:
        """Do one round; return whether it went well."""
        try:
            self._work()
        except Exception as error:
            _log.error("a background round failed, another follows", loop=self._name, exc_info=error)
            return False
        return True
