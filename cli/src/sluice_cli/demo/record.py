"""What a demo run remembers, for the live view, the page and the JSON report."""

import msgspec

from sluice_operator.rollout.state import RolloutState


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the run at ``at`` (seconds since its start).

    ``streamed`` interactions have been posted, ``lag`` are not learned yet; ``recall`` and ``popular_recall``
    are prequential recall@20 over all ``evaluated`` events, the ``window_`` ones over the newest 2,000.
    """

    at: float
    streamed: int
    events_per_s: float
    lag: int = 0
    evaluated: int = 0
    recall: float | None = None
    popular_recall: float | None = None
    window_recall: float | None = None
    window_popular_recall: float | None = None
    weight: int = 0
    phase: str = ""
    stable: str | None = None
    candidate: str | None = None


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the story: a decision of the rollout, a cut snapshot, an answer that changed."""

    at: float
    reason: str
    message: str
    warning: bool = False


class Click(msgspec.Struct, frozen=True, kw_only=True):
    """One user's answer before and after a click: item titles, and how long the change took."""

    user_id: str
    clicked: str
    before: list[str]
    after: list[str]
    took_ms: float


class Record(msgspec.Struct, kw_only=True):
    """Everything of one run, in order. ``latencies_ms`` are the recommendation requests' round trips."""

    dataset: str
    note: str
    algorithm: str
    events: int = 0
    history: int = 0
    total: int = 0
    stage: str = "starting"
    seconds_to_first_answer: float | None = None
    points: list[Point] = []
    told: list[Told] = []
    clicks: list[Click] = []
    latencies_ms: list[float] = []
    request_errors: int = 0
    freshness_ms: list[float] = []
    snapshots: list[str] = []
    promoted: list[str] = []
    rejected: list[str] = []
    rollout: RolloutState | None = None
    api: str = ""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON report of one run."""

    dataset: str
    events: int
    evaluated: int
    recall_at_20: float | None
    popularity_recall_at_20: float | None
    snapshots: int
    promoted: int
    rejected: int
    seconds_to_first_answer: float | None
    freshness_p99_ms: float | None


def summarize(record: Record) -> Summary:
    """Return the figures of a run."""
    last = record.points[-1] if record.points else None
    return Summary(
        dataset=record.dataset,
        events=record.events,
        evaluated=last.evaluated if last else 0,
        recall_at_20=last.recall if last else None,
        popularity_recall_at_20=last.popular_recall if last else None,
        snapshots=len(record.snapshots),
        promoted=len(record.promoted),
        rejected=len(record.rejected),
        seconds_to_first_answer=record.seconds_to_first_answer,
        freshness_p99_ms=percentile(record.freshness_ms, 99),
    )


def percentile(values: list[float], percent: float) -> float | None:
    """Return the smallest value that ``percent`` of ``values`` do not exceed; None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * int(percent) // 100) - 1))]
