"""Alerts ask for metrics that exist: one of a metric nobody emits never fires, and nobody sees that it does not."""

import re
from collections.abc import Iterator

from charts.objects import Objects, title
from sluice.metrics import DECLARED

METRIC = re.compile(r"\bsluice_[a-z0-9_]+")
_SERIES = ("_bucket", "_count", "_sum")


def alerts_ask_for_declared_metrics(objects: Objects) -> Iterator[str]:
    """Every ``sluice_…`` of an expression is a declared metric, or a series of a declared histogram."""
    histograms = {name for name, metric in DECLARED.items() if metric.kind == "histogram"}
    known = set(DECLARED) | {name + series for name in histograms for series in _SERIES}
    for found in objects.of("PrometheusRule"):
        for group in found["spec"]["groups"]:
            for rule in group["rules"]:
                for name in sorted(set(METRIC.findall(str(rule["expr"]))) - known):
                    yield f"{title(found)}: alert {rule.get('alert')} asks for {name}, which nobody emits"
