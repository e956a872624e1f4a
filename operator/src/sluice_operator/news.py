"""Whether something broken is news: passes come every second, and what stays broken is told once."""


class News:
    """What was told of one thing that may be broken."""

    def __init__(self) -> None:
        self._reason: str | None = None

    def broke(self, reason: str) -> bool:
        """Return whether this is to be told: it went well before, or broke for another reason."""
        told, self._reason = self._reason, reason
        return told != reason

    def mended(self) -> bool:
        """Return whether this is to be told: it was broken before."""
        told, self._reason = self._reason, None
        return told is not None
