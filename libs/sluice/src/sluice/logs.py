"""Structured logs: one JSON object a line on stderr, the same field names in every service."""

import logging
import sys

import structlog


def configure(service: str, level: str = "info") -> None:
    """Set up logging of this process; call once, before the first line."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            lambda _logger, _method, line: {"service": service, **line},  # in every thread, unlike a context
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        # Looked up anew for each line, so that a redirected stderr is followed.
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
