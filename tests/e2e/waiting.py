"""Waiting for what takes its time: everything polls with a deadline, and says what did not come."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_POLL_S = 0.25


def until(condition: Callable[[], T], what: str, timeout_s: float) -> T:
    """Return the first true result of ``condition``; fail with ``what`` and its last result after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what} (last: {result!r})"
        time.sleep(_POLL_S)
    return result
