"""Alerts ask for metrics that exist: one of a metric nobody emits never fires, and nobody sees that it does not.

And for their own release's: the errors of one would else vanish in the requests of another.
"""

import re
from collections.abc import Iterator

from charts.objects import Objects, title
from sluice.metrics import DECLARED

METRIC = re.compile(r"\bsluice_[a-z0-9_]+")
SELECTED = re.compile(r"\b((?:sluice_[a-z0-9_]+|up)\b)(\{[^}]*\})?")
"""A metric and the braces behind it."""
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


def alerts_are_about_their_own_namespace(objects: Objects) -> Iterator[str]:
    """Every metric of an expression is narrowed to the namespace of the release."""
    for found in objects.of("PrometheusRule"):
        for group in found["spec"]["groups"]:
            for rule in group["rules"]:
                for name, braces in SELECTED.findall(str(rule["expr"])):
                    if f'namespace="{objects.namespace}"' not in braces:
                        yield f"{title(found)}: alert {rule.get('alert')} asks for {name} of every namespace"
