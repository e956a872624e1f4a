"""Names of every metric Sluice emits, in one place, so that dashboards and alerts can rely on them."""

from typing import Final

LATENCY_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

REQUESTS: Final = "sluice_requests_total"
REQUEST_SECONDS: Final = "sluice_request_seconds"
ANSWERS: Final = "sluice_answers_total"
ANSWERS_DROPPED: Final = "sluice_answers_dropped_total"
CANARY_ERRORS: Final = "sluice_canary_errors_total"
SEARCHES: Final = "sluice_searches_total"
SEARCH_SECONDS: Final = "sluice_search_seconds"
SNAPSHOTS_LOADED: Final = "sluice_snapshots_loaded"
EVENTS_APPLIED: Final = "sluice_events_applied_total"
EVENTS_REJECTED: Final = "sluice_events_rejected_total"
LAG: Final = "sluice_lag_events"
EVENTS_LEARNED: Final = "sluice_events_learned_total"
RECALL: Final = "sluice_prequential_recall"
SNAPSHOTS_CUT: Final = "sluice_snapshots_cut_total"
