"""Whether the API may be sent requests: its event log and its stores answer."""

from collections.abc import Callable

from sluice.errors import StorageUnavailable

Probe = Callable[[], object]


class Readiness:
    """Returns why not, or None. A recommendation never fails for lack of a snapshot, so none is needed."""

    def __init__(self, probes: dict[str, Probe]) -> None:
        """``probes``: by name, a small read of each thing that a request may need."""
        self._probes = probes

    def __call__(self) -> str | None:
        """Ask all of them."""
        for name, probe in self._probes.items():
            try:
                probe()
            except StorageUnavailable as error:
                return f"{name} does not answer: {error}"
        return None
