"""A process at two looks: what it exposes now, and what its counters gained in between. Pure."""

from collections.abc import Iterable

import msgspec

from sluice_cli.top.exposition import Exposition
from sluice_cli.top.looking import Look, Seen


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """A process that answers; ``gained`` in ``seconds``."""

    seen: Seen
    now: Exposition
    gained: Exposition
    seconds: float

    def rate(self, name: str, **labels: str) -> float:
        """Return a counter's gain per second."""
        return (self.gained.total(name, **labels) or 0.0) / self.seconds

    def rates(self, name: str, label: str) -> dict[str, float]:
        """Return a counter's gains per second by ``label``, greatest first, without those that gained nothing."""
        gains = self.gained.by(name, label)
        return {
            key: gains[key] / self.seconds for key in sorted(gains, key=lambda key: -gains[key]) if gains[key]
        }


def pairs(before: Look, now: Look) -> list[Pair]:
    """Return every process that answers now beside itself at ``before``."""
    earlier = {seen.process.name: seen.metrics for seen in before.processes}
    return [
        Pair(
            seen=seen,
            now=seen.metrics,
            gained=seen.metrics.since(earlier.get(seen.process.name)),
            seconds=between(before, now),
        )
        for seen in now.processes
        if seen.metrics is not None
    ]


def between(before: Look, now: Look) -> float:
    """Return the seconds between two looks, never 0."""
    return max(now.at - before.at, 1e-3)


def total(found: Iterable[Pair], name: str) -> int | None:
    """Return the sum of a metric over processes; None if none of them has it."""
    values = [value for pair in found if (value := pair.now.total(name)) is not None]
    return int(sum(values)) if values else None
