"""Makes Prometheus instruments of what :mod:`sluice.metrics` declares; two modules that ask for one name share it.

Import only after the fork of a server with several workers: prometheus_client decides at its import whether
workers share their values through files.
"""

from collections.abc import Mapping
from functools import cache

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from sluice import __version__
from sluice.metrics import DECLARED, INFO, Kind, Metric, Process

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


@cache
def counter(name: str) -> prometheus_client.Counter:
    """Return the counter ``name``; raises KeyError for a name that is not declared as one."""
    metric = _declared(name, "counter")
    return prometheus_client.Counter(name.removesuffix("_total"), metric.meaning, metric.labels)


@cache
def gauge(name: str) -> prometheus_client.Gauge:
    """Return the gauge ``name``; raises KeyError for a name that is not declared as one."""
    metric = _declared(name, "gauge")
    return prometheus_client.Gauge(name, metric.meaning, metric.labels, multiprocess_mode=metric.across)


@cache
def histogram(name: str) -> prometheus_client.Histogram:
    """Return the histogram ``name``; raises KeyError for a name that is not declared as one."""
    metric = _declared(name, "histogram")
    return prometheus_client.Histogram(name, metric.meaning, metric.labels, buckets=metric.buckets)


def _declared(name: str, kind: Kind) -> Metric:
    metric = DECLARED[name]
    if metric.kind != kind:
        raise KeyError(f"{name} is a {metric.kind}, not a {kind}")
    return metric


def introduce(process: Process) -> None:
    """Let this process's metrics say what it is."""
    gauge(INFO).labels(process.value, __version__).set(1)


def family(name: str, values: Mapping[tuple[str, ...], float]) -> Family:
    """Return the counter or gauge ``name`` with a value per tuple of labels, for a collector that asks at each scrape.

    Only for processes without workers: collectors do not reach across processes.
    """
    metric = DECLARED[name]
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    made: CounterMetricFamily | GaugeMetricFamily = kind(name, metric.meaning, labels=metric.labels)
    for labels, value in values.items():
        made.add_metric(labels, value)
    return made


def with_instruments(*collectors: Collector) -> CollectorRegistry:
    """Return a registry of ``collectors`` and of this process's own instruments."""
    registry = CollectorRegistry()
    for collector in (*collectors, prometheus_client.REGISTRY):
        registry.register(collector)
    return registry
