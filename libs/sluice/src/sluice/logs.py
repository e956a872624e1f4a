"""Structured logs: one JSON object a line on stderr, the same field names in every process.

``ts`` (UTC), ``level``, ``service`` and ``event`` are in each line; ``event`` is a short sentence without
variables, so that it can be searched and counted, and what varies is in the fields. Positions in the log read
``topic[partition] offset``. ``docs/reference/logs.md`` lists the fields and the lines that matter.
"""

import logging
import sys
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import IO, Any, Final

import structlog
from structlog.types import EventDict, Processor

_FIRST: Final = ("ts", "level", "service", "event")


def configure(service: str, level: str = "info", *, whole_process: bool = True) -> None:
    """Set up logging; call once, before the first line.

    ``whole_process`` also brings the lines of libraries, warnings and uncaught exceptions into this form.
    """
    structlog.configure(
        processors=[*_common(service), _ordered, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        # Looked up anew for each line, so that a redirected stderr is followed.
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    if whole_process:
        _take_over(service, level)


def _formatter(service: str) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*_common(service), structlog.stdlib.add_logger_name],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _ordered,
            structlog.processors.JSONRenderer(),
        ],
    )


def positions(ends: Iterable[tuple[tuple[str, int], int]]) -> list[str]:
    """Return positions as they read in a line.

    >>> positions([(("shop.items", 1), 7)])
    ['shop.items[1] 7']
    """
    return [f"{topic}[{partition}] {offset}" for (topic, partition), offset in ends]


def _common(service: str) -> list[Processor]:
    def named(_logger: Any, _method: str, line: EventDict) -> EventDict:
        return {"service": service, **line}  # in every thread, unlike a context

    return [
        structlog.contextvars.merge_contextvars,
        named,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
    ]


def _ordered(_logger: Any, _method: str, line: EventDict) -> EventDict:
    return {name: line[name] for name in _FIRST} | {
        name: value for name, value in line.items() if name not in _FIRST
    }


class _Stderr(logging.StreamHandler[IO[str]]):
    """The handler of this module, on stderr as it is now."""

    @property
    def stream(self) -> IO[str]:
        return sys.stderr

    @stream.setter
    def stream(self, _: IO[str]) -> None:
        """Follow stderr whatever is set."""


def _take_over(service: str, level: str) -> None:
    handler = _Stderr()
    handler.setFormatter(_formatter(service))
    root = logging.getLogger()
    root.handlers = [each for each in root.handlers if not isinstance(each, _Stderr)] + [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))
    logging.captureWarnings(True)
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _crashed
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _thread_crashed


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    structlog.get_logger().critical("process ends by an unexpected error", exc_info=(kind, error, trace))


def _thread_crashed(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        told = (args.exc_type, args.exc_value, args.exc_traceback)
        name = args.thread.name if args.thread else ""
        structlog.get_logger().critical("thread ends by an unexpected error", task=name, exc_info=told)
