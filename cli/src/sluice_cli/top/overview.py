"""What an SRE wants to know of the platform; ``sluice top --json`` prints it."""

import msgspec

from sluice_operator.rollout.state import RolloutState


class ProcessRow(msgspec.Struct, frozen=True, kw_only=True):
    """``cpu_percent`` of one core over the interval; None = not known."""

    name: str
    service: str
    url: str
    answers: bool
    pid: int | None
    uptime_s: float | None
    cpu_percent: float | None
    memory_bytes: int | None
    restarts: int


class RouteRow(msgspec.Struct, frozen=True, kw_only=True):
    """One route of the API over the interval."""

    route: str
    per_s: float
    errors_per_s: float
    p50_ms: float | None
    p99_ms: float | None


class Requests(msgspec.Struct, frozen=True, kw_only=True):
    """The API over the interval: all routes but the probes; ``strategies`` and ``fallbacks`` per second."""

    per_s: float
    errors_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    candidate_per_s: float
    canary_errors_per_s: float
    strategies: dict[str, float]
    fallbacks: dict[str, float]
    routes: list[RouteRow]


class LagRow(msgspec.Struct, frozen=True, kw_only=True):
    """How far a process is behind in one partition; ``delay_s`` = how long its last records had waited."""

    process: str
    topic: str
    partition: int
    lag: int
    delay_s: float | None


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """The event log: what comes in, what is applied, what cannot be read."""

    accepted_per_s: float
    applied_per_s: float
    rejected: int
    repeated: int
    dead_letters: int | None
    overlay_items: int | None
    lags: list[LagRow]


class Learning(msgspec.Struct, frozen=True, kw_only=True):
    """The trainer; ``recall`` and ``popular_recall`` are recall@20 over all evaluated events.

    ``newest_`` are the same over the newest 2,000.
    """

    model: str
    algorithm: str
    events_per_s: float
    learned: int
    evaluated: int
    recall: float | None
    popular_recall: float | None
    newest_recall: float | None
    newest_popular_recall: float | None
    items: int
    users: int
    snapshots_cut: int


class SnapshotRow(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot that plays a part or is loaded; ``role`` is empty for one that is merely kept."""

    id: str
    role: str
    bytes: int | None
    rows: int | None
    loaded: list[str]
    refused: dict[str, str]


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """Everything. ``interval_s`` is what the rates are over; ``requests`` is None while the API does not answer.

    ``learning`` and ``rollouts`` are by model.
    """

    at: float
    interval_s: float
    api: str
    processes: list[ProcessRow]
    requests: Requests | None
    stream: Stream
    learning: dict[str, Learning]
    snapshots: list[SnapshotRow]
    headroom_bytes: int | None
    rollouts: dict[str, RolloutState]
