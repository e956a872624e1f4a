"""``sluice experiment``: what came of an experiment between models so far."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluice_cli.commands.local import DEFAULT_HOME, HomeOption, JsonOption, experiments, open_backing
from sluice_cli.commands.shell import InputError, show_json, show_table

if TYPE_CHECKING:
    from sluice.evidence import EvidenceTotals, Hits, Requests

BEFORE = ("model", "users", "answers", "hit rate")
AFTER = ("requests", "errors", "p99 ms")


def experiment(
    name: Annotated[str, typer.Argument(help="Name of the experiment, as SLUICE_EXPERIMENT begins.")],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Show hit rate, errors and latency of each model of an experiment.

    Each model is compared with the one whose name comes first. The bounds of a difference hold however often you
    look, each with 95 %; users are what is counted, since one user's answers are not independent.

    \b
    Examples:
      sluice experiment als
      sluice experiment als --home .sluice --json
    """
    from sluice.experiment import rollout_of

    unknown = InputError(f"{home} knows nothing of an experiment {name}; give its name, or wait for requests")
    backing = open_backing(home)
    if not backing.shared and name not in experiments(home):
        raise unknown
    totals = backing.experiment(name).totals(rollout_of(name), 0)
    models = sorted(totals.requests.keys() | totals.hits.keys())
    if not models:
        raise unknown
    results = [_result(totals, model, models[0]) for model in models]
    if as_json:
        show_json(results)
        return
    columns = (*BEFORE, f"against {models[0]}", *AFTER)
    show_table(columns, [_row(each) for each in results], right=columns[1:])


def _result(totals: "EvidenceTotals", model: str, against: str) -> dict[str, Any]:
    """Return what is shown of one model; the one that others are compared with has no difference."""
    from sluice.evidence import Hits, Requests

    hits, requests = totals.hits.get(model, Hits()), totals.requests.get(model, Requests())
    compared = None if model == against else against
    return {
        "model": model,
        "users": hits.users,
        "answers": hits.answers,
        "hits": hits.hits,
        "hit_rate": hits.rate if hits.answers else None,
        "against": compared,
        "difference": None if compared is None else _difference(hits, totals.hits.get(compared, Hits())),
        "requests": requests.n,
        "errors": requests.errors,
        "p99_ms": _quantile(requests, 0.99),
    }


def _difference(hits: "Hits", others: "Hits") -> tuple[float, float, float] | None:
    """Return the difference of two hit rates with its bounds; None until both arms have two users."""
    from sluice_operator.rollout.confidence import cluster_sd, half_width

    if min(hits.users, others.users) < 2:
        return None
    sd = cluster_sd((hits.rate_variance, hits.users), (others.rate_variance, others.users))
    width = half_width(sd, min(hits.users, others.users))
    difference = hits.rate - others.rate
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
