"""Whether the API may be sent requests: it has read what its answers stand on, once.

Only a process's own condition counts. Stores that do not answer now are no reason: every pod would lose them at
once and none would be left to answer with less (``popular``, say). Metrics tell of them.
"""

from collections.abc import Callable

from sluice.errors import StorageUnavailable

Probe = Callable[[], object]


class Readiness:
    """Returns why not, or None. A recommendation never fails for lack of a snapshot, so none is needed."""

    def __init__(self, probes: dict[str, Probe]) -> None:
        """``probes``: by name, a small read of each thing that must have answered once."""
        self._left = probes

    def __call__(self) -> str | None:
        """Ask those that have not answered yet."""
        for name, probe in self._left.items():
            try:
                probe()
            except StorageUnavailable as error:
                return f"{name} does not answer: {error}"
            self._left = {other: ask for other, ask in self._left.items() if other != name}
        return None
