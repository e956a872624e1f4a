"""The API's requests and the event log's lag, from two looks. Pure."""

from collections.abc import Sequence
from typing import Final

from sluice import metrics
from sluice.metrics import Process
from sluice_cli.top.exposition import quantile
from sluice_cli.top.overview import LagRow, Requests, RouteRow, Stream
from sluice_cli.top.pairs import Pair, total

PROBES: Final = ("/healthz", "/readyz", "/metrics")


def requests(api: Pair) -> Requests:
    """Return what the API answered in the interval, the probes left out."""
    counts = api.gained.by(metrics.REQUESTS, "route")
    routes = sorted(counts.keys() - set(PROBES), key=lambda route: (-counts[route], route))
    rows = [_route(api, route) for route in routes]
    buckets: dict[str, float] = {}
    for route in routes:
        for bound, count in _buckets(api, route).items():
            buckets[bound] = buckets.get(bound, 0.0) + count
    return Requests(
        per_s=sum(row.per_s for row in rows),
        errors_per_s=sum(row.errors_per_s for row in rows),
        p50_ms=_milliseconds(0.5, buckets),
        p99_ms=_milliseconds(0.99, buckets),
        candidate_per_s=api.rate(metrics.ANSWERS, track="candidate"),
        canary_errors_per_s=api.rate(metrics.CANARY_ERRORS),
        strategies=api.rates(metrics.ANSWERS, "strategy"),
        fallbacks=api.rates(metrics.FALLBACKS, "reason"),
        routes=rows,
    )


def _route(api: Pair, route: str) -> RouteRow:
    statuses = api.gained.by(metrics.REQUESTS, "status", route=route)
    buckets = _buckets(api, route)
    return RouteRow(
        route=route,
        per_s=sum(statuses.values()) / api.seconds,
        errors_per_s=sum(count for status, count in statuses.items() if status >= "500") / api.seconds,
        p50_ms=_milliseconds(0.5, buckets),
        p99_ms=_milliseconds(0.99, buckets),
    )


def _buckets(api: Pair, route: str) -> dict[str, float]:
    return api.gained.by(f"{metrics.REQUEST_SECONDS}_bucket", "le", route=route)


def _milliseconds(share: float, buckets: dict[str, float]) -> float | None:
    seconds = quantile(share, buckets)
    return None if seconds is None else 1e3 * seconds


def stream(found: Sequence[Pair]) -> Stream:
    """Return what the processes have taken from the event log and what they have yet to."""
    keepers = [pair for pair in found if pair.seen.service == Process.PROFILES]
    pods = [pair for pair in found if pair.seen.service == Process.FAISS]
    overlays = [items for pod in pods if (items := pod.now.total(metrics.OVERLAY_ITEMS)) is not None]
    return Stream(
        accepted_per_s=sum(pair.rate(metrics.ACCEPTED) for pair in found),
        applied_per_s=sum(pair.rate(metrics.EVENTS_APPLIED) for pair in found),
        rejected=total(keepers, metrics.EVENTS_REJECTED) or 0,
        repeated=total(keepers, metrics.EVENTS_REPEATED) or 0,
        dead_letters=total(keepers, metrics.DEAD_LETTERS),
        overlay_items=int(min(overlays)) if overlays else None,
        lags=[row for pair in found for row in _lags(pair)],
    )


def _lags(pair: Pair) -> list[LagRow]:
    rows = [
        LagRow(
            process=pair.seen.process.name,
            topic=labels["topic"],
            partition=int(labels["partition"]),
            lag=int(value),
            delay_s=pair.now.total(metrics.DELAY, **labels),
        )
        for labels, value in pair.now.series(metrics.LAG)
    ]
    return sorted(rows, key=lambda row: (row.topic, row.partition))
