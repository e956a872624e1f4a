"""``sluice experiment``: what came of an experiment between models so far."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluice_cli.commands.local import DEFAULT_HOME, HomeOption, JsonOption, open_backing
from sluice_cli.commands.shell import InputError, show_json, show_table

if TYPE_CHECKING:
    from sluice.evidence import Hits, Requests

COLUMNS = ("model", "users", "answers", "hit rate", "against the first", "requests", "errors", "p99 ms")


def experiment(
    name: Annotated[str, typer.Argument(help="Name of the experiment, as SLUICE_EXPERIMENT begins.")],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Show hit rate, errors and latency of each model of an experiment.

    The bounds of a difference hold however often you look (95 % in all); users are what is counted, since one user's
    answers are not independent.

    \b
    Examples:
      sluice experiment als
      sluice experiment als --home .sluice --json
    """
    from sluice.experiment import rollout_of

    totals = open_backing(home).experiment(name).totals(rollout_of(name), 0)
    models = sorted(totals.requests.keys() | totals.hits.keys())
    if not models:
        raise InputError(f"{home} knows nothing of an experiment {name}; give its name, or wait for requests")
    first = totals.hits.get(models[0])
    results = [
        _result(
            model, totals.hits.get(model), totals.requests.get(model), None if model == models[0] else first
        )
        for model in models
    ]
    if as_json:
        show_json(results)
        return
    show_table(COLUMNS, [_row(each) for each in results], right=COLUMNS[1:])


def _result(
    model: str, hits: "Hits | None", requests: "Requests | None", first: "Hits | None"
) -> dict[str, Any]:
    from sluice.evidence import Hits, Requests

    hits, requests = hits or Hits(), requests or Requests()
    return {
        "model": model,
        "users": hits.users,
        "answers": hits.answers,
        "hits": hits.hits,
        "hit_rate": hits.rate if hits.answers else None,
        "difference": _difference(hits, first),
        "requests": requests.n,
        "errors": requests.errors,
        "p99_ms": _quantile(requests, 0.99),
    }


def _difference(hits: "Hits", first: "Hits | None") -> tuple[float, float, float] | None:
    """Return the difference of two hit rates with its bounds; None until both arms have two users."""
    from sluice_operator.rollout.confidence import cluster_sd, half_width

    if first is None or min(hits.users, first.users) < 2:
        return None
    sd = cluster_sd((hits.rate_variance, hits.users), (first.rate_variance, first.users))
    width = half_width(sd, min(hits.users, first.users))
    difference = hits.rate - first.rate
    return difference, difference - width, difference + width


def _quantile(requests: "Requests", share: float) -> float | None:
    """Return the upper bound of the bucket in which a share of the latencies ends; None without requests."""
    from sluice.evidence import LATENCY_BOUNDS_MS

    left = share * sum(requests.latency)
    for bound, count in zip((*LATENCY_BOUNDS_MS, float("inf")), requests.latency, strict=True):
        left -= count
        if count and left <= 0:
            return bound
    return None


def _row(result: dict[str, Any]) -> list[str]:
    rate, difference, p99 = result["hit_rate"], result["difference"], result["p99_ms"]
    return [
        result["model"],
        f"{result['users']:,}",
        f"{result['answers']:,}",
        "–" if rate is None else f"{rate:.4f}",
        "–" if difference is None else "{:+.4f} ({:+.4f} to {:+.4f})".format(*difference),
        f"{result['requests']:,}",
        f"{result['errors']:,}",
        "–" if p99 is None else f"{p99:g}",
    ]
