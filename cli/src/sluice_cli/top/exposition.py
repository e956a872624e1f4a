"""What a process exposes on ``/metrics``, as values that can be asked for and compared with earlier ones. Pure."""

from collections.abc import Iterator, Mapping

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]


class Exposition:
    """The samples of one scrape, by name and labels."""

    def __init__(self, samples: Mapping[str, Mapping[Labels, float]]) -> None:
        self._samples = samples

    def total(self, name: str, **labels: str) -> float | None:
        """Return the sum of the samples of ``name`` that have ``labels``; None if there are none."""
        found = [value for _, value in self._matching(name, labels)]
        return sum(found) if found else None

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """Return the sums of ``name`` by the values of ``label``."""
        sums: dict[str, float] = {}
        for each, value in self._matching(name, labels):
            key = dict(each).get(label, "")
            sums[key] = sums.get(key, 0.0) + value
        return sums

    def series(self, name: str) -> list[tuple[dict[str, str], float]]:
        """Return (labels, value) of every sample of ``name``."""
        return [(dict(each), value) for each, value in self._samples.get(name, {}).items()]

    def since(self, earlier: "Exposition | None") -> "Exposition":
        """Return what every series gained; all of it where it is new or smaller: the process began anew."""
        if earlier is None:
            return self
        return Exposition(
            {
                name: {labels: _gain(value, earlier._value(name, labels)) for labels, value in each.items()}
                for name, each in self._samples.items()
            }
        )

    def _value(self, name: str, labels: Labels) -> float:
        return self._samples.get(name, {}).get(labels, 0.0)

    def _matching(self, name: str, labels: Mapping[str, str]) -> Iterator[tuple[Labels, float]]:
        wanted = labels.items()
        return (
            (each, value)
            for each, value in self._samples.get(name, {}).items()
            if wanted <= dict(each).items()
        )


def _gain(now: float, before: float) -> float:
    return now - before if now >= before else now


def parse(text: str) -> Exposition:
    """Read the Prometheus text format; raises ValueError for anything else."""
    samples: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return Exposition(samples)


def quantile(share: float, buckets: Mapping[str, float]) -> float | None:
    """Return the value that ``share`` of the observations do not exceed; None without observations.

    ``buckets`` are cumulative counts by upper bound, as in Prometheus; within a bucket values are taken to lie
    evenly, beyond the last bound they are taken to lie on it.

    >>> quantile(0.5, {"1.0": 0, "2.0": 10, "+Inf": 10})
    1.5
    """
    bounds = sorted((float(bound), count) for bound, count in buckets.items())
    if not bounds or bounds[-1][1] <= 0:
        return None
    rank = share * bounds[-1][1]
    lower, below = 0.0, 0.0
    for bound, count in bounds:
        if count >= rank and count > below:
            return (
                lower if bound == float("inf") else lower + (bound - lower) * (rank - below) / (count - below)
            )
        lower, below = (bound, count) if bound != float("inf") else (lower, below)
    return lower
