"""When a model is looked at: every interval, and soon after a change. A thread a model, so that none waits."""

import math
import threading
import time
from collections.abc import Callable, Hashable
from typing import Final

import structlog

from sluice.errors import SluiceError
from sluice_operator.news import News

_LOG = structlog.get_logger()
STOP_S: Final = 10.0
STUCK_S: Final = 300.0
"""A pass takes seconds: all it waits for has limits. One that takes so long will not end."""

GAP_S: Final = 0.5
"""Changes bring passes no faster than that, and what changed meanwhile brings one."""

Pass = Callable[[float], object]
"""Does one pass at a time (Unix seconds)."""


class Ended(Exception):
    """There is nothing left to do passes over."""


class Passes:
    """Begins passes over a model when it is first seen, and ends them when one raises :class:`Ended`.

    Whatever else a pass raises costs that model time, and no other one anything.
    """

    def __init__(self, begin: Callable[[str], Pass], interval_s: float) -> None:
        self._begin, self._interval_s = begin, interval_s
        self._models: dict[str, _Model] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def look(self, name: str, version: Hashable) -> None:
        """Let there be a pass over the model ``name`` soon if ``version`` is not its last one; from any thread."""
        with self._lock:
            if self._stopping.is_set():
                return
            if (known := self._models.get(name)) is None:
                self._models[name] = _Model(name, version, self._run)
            elif known.version != version:
                known.version = version
                known.wake.set()

    def stuck(self) -> str | None:
        """Return which model's pass does not end; None if every one does."""
        with self._lock:
            models = list(self._models.values())
        late = [model.name for model in models if time.monotonic() - model.begun > STUCK_S]
        return f"passes do not end: {', '.join(sorted(late))}" if late else None

    def stop(self) -> None:
        """End all passes and wait for those that are under way."""
        with self._lock:
            self._stopping.set()
            models = list(self._models.values())
        deadline = time.monotonic() + STOP_S
        for model in models:
            model.wake.set()
            model.thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, model: "_Model") -> None:
        one_pass: Pass | None = None
        while not self._stopping.is_set():
            model.wake.clear()
            model.begun = time.monotonic()
            try:
                one_pass = one_pass or self._begin(model.name)
                one_pass(time.time())
                model.succeeded()
            except Ended:
                if self._dropped(model):
                    return
                one_pass = None
            except SluiceError as error:
                model.failed(error)
            except Exception as error:
                model.failed(error, unexpected=True)
            model.begun = math.inf
            gap_s = min(GAP_S, self._interval_s)
            self._stopping.wait(gap_s)
            model.wake.wait(self._interval_s - gap_s)

    def _dropped(self, model: "_Model") -> bool:
        """Forget an ended model, unless it was seen again meanwhile."""
        with self._lock:
            if model.wake.is_set():
                return False
            del self._models[model.name]
        _LOG.info("model gone", model=model.name)
        return True


class _Model:
    """One model's thread, and why its last pass failed."""

    def __init__(self, name: str, version: Hashable, run: Callable[["_Model"], None]) -> None:
        self.name, self.version, self.wake, self._news = name, version, threading.Event(), News()
        self.begun = math.inf  # of the pass under way
        self.thread = threading.Thread(target=run, args=(self,), name=f"model-{name}", daemon=True)
        self.thread.start()

    def failed(self, error: Exception, *, unexpected: bool = False) -> None:
        """Say why, once for the same reason in a row."""
        if not self._news.broke(f"{type(error).__name__}: {error}"):
            return
        if unexpected:
            _LOG.error("pass raised an unexpected error", model=self.name, exc_info=error)
        else:
            _LOG.warning("pass thrown away", model=self.name, reason=str(error))

    def succeeded(self) -> None:
        """Say that passes do again, if one failed before."""
        if self._news.mended():
            _LOG.info("passes succeed again", model=self.name)
