"""A background thread that does one thing again and again, and survives its failures."""

import threading
from collections.abc import Callable

import structlog

_log = structlog.get_logger()


class Loop:
    """Calls ``work`` every ``interval_s`` until stopped; after an exception the next round comes all the same.

    A failure is logged when it begins, not at every round, and so is its end; after one the next round comes
    ``rest_s`` later (by default also ``interval_s``).
    """

    def __init__(
        self, name: str, interval_s: float, work: Callable[[], None], *, rest_s: float | None = None
    ) -> None:
        self._name, self._interval_s, self._work = name, interval_s, work
        self._rest_s = interval_s if rest_s is None else rest_s
        self._stopping = threading.Event()
        self._failure = ""
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
        while not self._stopping.wait(self._rest_s if self._failure else self._interval_s):
            self.once()

    def once(self) -> None:
        """Do one round."""
        try:
            self._work()
        except Exception as error:
            if repr(error) != self._failure:
                _log.error("a background task fails, it will be tried again", task=self._name, exc_info=error)
            self._failure = repr(error)
            return
        if self._failure:
            _log.info("a background task works again", task=self._name)
        self._failure = ""
