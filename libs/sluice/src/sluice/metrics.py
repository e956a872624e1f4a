"""Every metric Sluice emits: name, kind, labels, meaning and who emits it, so that dashboards can rely on them.

:mod:`sluice.instruments` makes Prometheus instruments of these, :mod:`sluice.statsd` sends the same names, and
``docs/reference/metrics.md`` is generated from here. A constant's value is the metric's name.
"""

from enum import StrEnum
from typing import Final, Literal, NamedTuple

LATENCY_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
WORK_BUCKETS_S: Final = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)

Kind = Literal["counter", "gauge", "histogram"]
Across = Literal["livesum", "livemin", "livemax"]


class Process(StrEnum):
    """The processes, as the field ``service`` of a log line names them."""

    API = "recommender"
    FAISS = "faiss"
    PROFILES = "profiles"
    TRAINER = "trainer"
    CONTROLLER = "controller"


class Metric(NamedTuple):
    """``across`` says how a gauge of several worker processes becomes one; ``buckets`` are upper bounds in seconds."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...]
    processes: tuple[Process, ...]
    across: Across = "livemax"
    buckets: tuple[float, ...] = ()


DECLARED: Final[dict[str, Metric]] = {}


def _declare(metric: Metric) -> str:
    DECLARED[metric.name] = metric
    return metric.name


def _counter(name: str, meaning: str, *labels: str, by: tuple[Process, ...]) -> str:
    return _declare(Metric(name, "counter", meaning, labels, by))


def _gauge(name: str, meaning: str, *labels: str, by: tuple[Process, ...], across: Across = "livemax") -> str:
    return _declare(Metric(name, "gauge", meaning, labels, by, across))


def _histogram(
    name: str,
    meaning: str,
    *labels: str,
    by: tuple[Process, ...],
    buckets: tuple[float, ...] = WORK_BUCKETS_S,
) -> str:
    return _declare(Metric(name, "histogram", meaning, labels, by, buckets=buckets))


_API: Final = (Process.API,)
_FAISS: Final = (Process.FAISS,)
_WEB: Final = (Process.API, Process.FAISS)
_PROFILES: Final = (Process.PROFILES,)
_TRAINER: Final = (Process.TRAINER,)
_CONTROLLER: Final = (Process.CONTROLLER,)
_READERS: Final = (Process.PROFILES, Process.TRAINER)
_ALL: Final = tuple(Process)
_CACHED: Final = (Process.API, Process.PROFILES, Process.TRAINER, Process.CONTROLLER)
_STORES: Final = (Process.API, Process.PROFILES)
_TAILS: Final = (Process.API, Process.FAISS, Process.PROFILES, Process.TRAINER)

# Everywhere
INFO: Final = _gauge(
    "sluice_info", "1; says which service this is, in which version.", "service", "version", by=_ALL
)

# Requests
REQUESTS: Final = _counter("sluice_requests_total", "Requests answered.", "route", "status", by=_WEB)
REQUEST_SECONDS: Final = _histogram(
    "sluice_request_seconds", "Time to answer a request.", "route", by=_WEB, buckets=LATENCY_BUCKETS_S
)

# Answers
ANSWERS: Final = _counter("sluice_answers_total", "Answers given.", "model", "track", "strategy", by=_API)
ANSWERS_DROPPED: Final = _counter(
    "sluice_answers_dropped_total", "Answers not recorded because the log was too slow.", by=_API
)
CANARY_ERRORS: Final = _counter(
    "sluice_canary_errors_total", "Requests a candidate failed and stable answered.", "model", by=_API
)
FALLBACKS: Final = _counter(
    "sluice_fallbacks_total",
    "Answers that lacked something: reason is no-profile, no-pod or no-snapshot.",
    "model",
    "reason",
    by=_API,
)
ACCEPTED: Final = _counter("sluice_events_accepted_total", "Records put into the log.", "topic", by=_API)

# Stores and their cache
CACHE_UP: Final = _gauge(
    "sluice_cache_up",
    "0 while Redis does not answer and is passed over, else 1.",
    by=_CACHED,
    across="livemin",
)
CACHE_LOOKUPS: Final = _counter(
    "sluice_cache_lookups_total",
    "Entries looked up: cache is profile, item or popular, outcome is hit, miss, or failed if Redis did not answer.",
    "cache",
    "outcome",
    by=_STORES,
)
STORE_UP: Final = _gauge(
    "sluice_store_up",
    "0 while a store (profiles, items, popularity) does not answer reads and is passed over, else 1.",
    "store",
    by=_STORES,
    across="livemin",
)

# Searches and snapshots
SEARCHES: Final = _counter("sluice_searches_total", "Searches done.", "kind", by=_FAISS)
SEARCH_SECONDS: Final = _histogram(
    "sluice_search_seconds", "Time of a search.", by=_FAISS, buckets=LATENCY_BUCKETS_S
)
SNAPSHOTS_LOADED: Final = _gauge(
    "sluice_snapshots_loaded", "Snapshots that serve.", by=_FAISS, across="livemin"
)
SNAPSHOTS_REFUSED: Final = _counter(
    "sluice_snapshots_refused_total", "Attempts to load a snapshot that were refused.", by=_FAISS
)
SNAPSHOT_LOAD_SECONDS: Final = _histogram(
    "sluice_snapshot_load_seconds", "Time to copy, verify, map and warm a snapshot.", by=_FAISS
)
HEADROOM: Final = _gauge(
    "sluice_headroom_bytes", "Memory that the pod may still take.", by=_FAISS, across="livemin"
)
OVERLAY_ITEMS: Final = _gauge(
    "sluice_overlay_items", "Items with live state above the snapshots.", by=_WEB, across="livemin"
)
OVERLAY_REFUSED: Final = _counter(
    "sluice_overlay_refused_total",
    "Records of new entries that a full overlay did not take.",
    "topic",
    by=_WEB,
)

# The stream
EVENTS_APPLIED: Final = _counter("sluice_events_applied_total", "Records applied.", "topic", by=_PROFILES)
EVENTS_REJECTED: Final = _counter(
    "sluice_events_rejected_total",
    "Unreadable records; the profiles process puts them into the dead-letter topic.",
    "topic",
    "reason",
    by=_READERS,
)
EVENTS_REPEATED: Final = _counter(
    "sluice_events_repeated_total",
    "Records left out because their event_id came before.",
    "topic",
    by=_READERS,
)
LAG: Final = _gauge(
    "sluice_lag_events",
    "Records of a partition that this process has yet to read.",
    "topic",
    "partition",
    by=_TAILS,
)
DELAY: Final = _gauge(
    "sluice_delay_seconds",
    "How long the oldest record of the last batch had been in the log when it was applied.",
    "topic",
    "partition",
    by=_READERS,
)
LOST: Final = _counter(
    "sluice_events_lost_total",
    "Records that the log had deleted before this process read them.",
    "topic",
    "partition",
    by=_TAILS,
)
DEAD_LETTERS: Final = _gauge(
    "sluice_dead_letters", "Where the dead-letter topic ends, all partitions together.", by=_PROFILES
)
EVIDENCE_ROWS: Final = _counter(
    "sluice_evidence_rows_total",
    "Rows of evidence written: kind is requests, hits or paired.",
    "kind",
    by=(Process.API, Process.PROFILES, Process.TRAINER),
)

# Learning
EVENTS_LEARNED: Final = _counter(
    "sluice_events_learned_total", "Interactions learned, also by earlier runs of this trainer.", by=_TRAINER
)
LEARN_SECONDS: Final = _histogram("sluice_learn_seconds", "Time to evaluate and learn a batch.", by=_TRAINER)
QUALITY: Final = _gauge(
    "sluice_prequential_quality",
    "Mean score of events before they are learned: contender is served or popular, window is all or newest.",
    "metric",
    "contender",
    "window",
    by=_TRAINER,
)
EVALUATED: Final = _counter(
    "sluice_events_evaluated_total", "Interactions that counted in the evaluation.", by=_TRAINER
)
ROWS: Final = _gauge(
    "sluice_learner_rows", "Entities known: entity is items or users.", "entity", by=_TRAINER
)
SNAPSHOTS_CUT: Final = _counter("sluice_snapshots_cut_total", "Snapshots cut.", by=_TRAINER)
CUT_SECONDS: Final = _histogram("sluice_cut_seconds", "Time to cut a snapshot.", by=_TRAINER)
CHECKPOINT_SECONDS: Final = _histogram(
    "sluice_checkpoint_seconds",
    "Time to write a checkpoint; its count is that of the checkpoints.",
    by=_TRAINER,
)
PAUSE_SECONDS: Final = _histogram(
    "sluice_checkpoint_pause_seconds", "How long learning stood still for a checkpoint.", by=_TRAINER
)

# The rollout
PHASE: Final = _gauge("sluice_rollout_phase", "1 for the present phase.", "model", "phase", by=_CONTROLLER)
WEIGHT: Final = _gauge("sluice_rollout_weight_percent", "The candidate's share.", "model", by=_CONTROLLER)
STEP: Final = _gauge(
    "sluice_rollout_step",
    "Index of the present step; the number of steps once all are done.",
    "model",
    by=_CONTROLLER,
)
EPOCH: Final = _gauge("sluice_rollout_epoch", "Decisions made so far.", "model", by=_CONTROLLER)
DECISIONS: Final = _counter("sluice_decisions_total", "Decisions told.", "model", "reason", by=_CONTROLLER)
GATE_VALUE: Final = _gauge(
    "sluice_gate_value", "What a gate measures; absent while it is unknown.", "model", "gate", by=_CONTROLLER
)
GATE_VERDICT: Final = _gauge(
    "sluice_gate_verdict", "1 for a gate's present verdict.", "model", "gate", "verdict", by=_CONTROLLER
)
GATE_SAMPLES: Final = _gauge("sluice_gate_samples", "Samples a gate has.", "model", "gate", by=_CONTROLLER)
PASSES: Final = _counter("sluice_passes_total", "Passes of the controller.", "model", by=_CONTROLLER)
PASSES_THROWN_AWAY: Final = _counter(
    "sluice_passes_thrown_away_total",
    "Passes without effect: somebody else had decided, or a store was unavailable.",
    "model",
    by=_CONTROLLER,
)
